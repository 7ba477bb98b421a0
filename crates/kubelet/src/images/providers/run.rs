//! Runs a provider's program for one answer.
use super::config::Variable;
use super::protocol::{Answer, answer};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A program that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer, and of what is said about why there is none.
const ANSWER_MAX: u64 = 1 << 20;
const COMPLAINT_MAX: u64 = 4 << 10;

/// A program with what it is started with.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<String>,
    /// Beside the agent's own environment.
    pub env: Vec<Variable>,
    /// The version of the protocol that it speaks.
    pub version: String,
}

impl Program {
    /// Its answer to a request.
    pub async fn ask(&self, request: &Value) -> Result<Answer, String> {
        let work = tokio::time::timeout(PATIENCE, self.run(request.to_string()));
        let output = work
            .await
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
        answer(&self.version, &output)
    }

    async fn run(&self, request: String) -> Result<Vec<u8>, String> {
        let told = |error: std::io::Error| error.to_string();
        let mut child = Command::new(&self.path)
            .args(&self.args)
            .envs(self.env.iter().map(|variable| (&variable.name, &variable.value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(told)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // One that does not read what it is asked may answer all the same.
                let _ = stdin.write_all(request.as_bytes()).await;
            }
        };
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let read = async {
            match stdout {
                Some(stdout) => stdout.take(ANSWER_MAX).read_to_end(&mut output).await,
                None => Ok(0),
            }
        };
        let hear = async {
            let Some(mut stderr) = stderr else { return Ok(0) };
            (&mut stderr)
                .take(COMPLAINT_MAX)
                .read_to_end(&mut complaint)
                .await?;
            // One that says more is not to wait for a reader, nor to end for want of one.
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await
        };
        let ((), read, _) = tokio::join!(write, read, hear);
        read.map_err(told)?;
        let status = child.wait().await.map_err(told)?;
        if !status.success() {
            return Err(format!(
                "{status}: {}",
                String::from_utf8_lossy(&complaint).trim()
            ));
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_logs_a_lot_answers_all_the_same() {
        let sh = |script: String| Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script],
            env: Vec::new(),
            version: String::new(),
        };
        // More than a pipe holds besides what is kept.
        let talk = "i=0; while [ $i -lt 4000 ]; do echo 'one line of forty characters in its log' >&2; i=$((i+1)); done";
        let output = sh(format!("{talk}; echo answer")).run(String::new()).await;
        assert_eq!(output, Ok(b"answer\n".to_vec()));
        let complaint = sh(format!("{talk}; exit 3"))
            .run(String::new())
            .await
            .unwrap_err();
        assert!(
            complaint.starts_with("exit status: 3: one line of forty"),
            "{complaint}"
        );
        assert!(complaint.len() < 5000, "{}", complaint.len());
    }
}
