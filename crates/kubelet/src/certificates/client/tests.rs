//! Beginning with what the disk has; asking is tested against a real API server, end to end.
use super::*;
use orlop_pki::{Authority, Identity, Kubeconfig, LeafRequest};

struct Disk {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        Self { dir, authority }
    }

    fn options(&self, bootstrap: bool) -> ClientOptions {
        let at = |name: &str| self.dir.path().join(name);
        ClientOptions {
            node_name: "n1".into(),
            kubeconfig: at("kubelet.conf"),
            bootstrap_kubeconfig: bootstrap.then(|| at("bootstrap.conf")),
            directory: at("pki"),
            rotate: true,
            calls: CallMetrics::default(),
            counted: Certificates::default(),
        }
    }

    fn write_kubeconfig(&self) {
        let kubeconfig = Kubeconfig {
            server: "https://127.0.0.1:1",
            cluster: "kubernetes",
            identity: Identity::new("system:node:n1", &["system:nodes"]),
        };
        kubeconfig
            .ensure(&self.options(false).kubeconfig, &self.authority)
            .unwrap();
    }

    /// A certificate that ends after an hour, and so before the kubeconfig's.
    fn save_renewed(&self) -> Validity {
        let asking = Asking::new(
            &LeafRequest {
                identity: Identity::new("system:node:n1", &["system:nodes"]),
                usage: Usage::Client,
                dns_names: vec![],
                addresses: vec![],
            },
            None,
        )
        .unwrap();
        let request = orlop_pki::CertificateRequest::parse(asking.request()).unwrap();
        let hour = std::time::Duration::from_secs(3600);
        let signed = self
            .authority
            .sign_request(&request, Usage::Client, hour)
            .unwrap();
        let leaf = asking.complete(signed).unwrap();
        let files = RenewedLeaf::new(&self.options(false).directory, "kubelet-client");
        files.save(&leaf, Timestamp::now()).unwrap();
        Validity::of_pem(&leaf.certificate).unwrap()
    }
}

#[tokio::test]
async fn without_a_kubeconfig_the_agent_bootstraps_or_says_what_is_missing() {
    let disk = Disk::new();
    let error = ClientCertificate::start(disk.options(false)).await.err().unwrap();
    assert!(error.to_string().contains("kubelet.conf"), "{error}");
    let (_client, certificate) = ClientCertificate::start(disk.options(true)).await.unwrap();
    assert!(certificate.bootstrapping);
}

#[tokio::test]
async fn a_kubeconfig_that_is_put_there_ends_the_bootstrap() {
    let disk = Disk::new();
    let (_client, mut certificate) = ClientCertificate::start(disk.options(true)).await.unwrap();
    disk.write_kubeconfig();
    certificate.look_again().await;
    assert!(!certificate.bootstrapping);
    let used = certificate.in_use.unwrap();
    assert!(used.renew_at.unwrap() < used.validity.until);
}

#[tokio::test]
async fn a_kubeconfig_that_is_put_in_the_place_of_one_that_is_over_ends_the_wait() {
    let disk = Disk::new();
    disk.write_kubeconfig();
    let (_client, mut certificate) = ClientCertificate::start(disk.options(false)).await.unwrap();
    let ended = Timestamp::now() - jiff::SignedDuration::from_secs(1);
    let mut used = certificate.in_use.unwrap();
    used.validity.until = ended;
    certificate.in_use = Some(used);
    let path = disk.options(false).kubeconfig;
    let aside = path.with_extension("aside");
    std::fs::copy(&path, &aside).unwrap();
    let put = async {
        // The wait has begun.
        tokio::task::yield_now().await;
        std::fs::rename(&aside, &path).unwrap();
    };
    let waited = async { tokio::join!(certificate.pause(Duration::from_secs(3600)), put) };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, waited).await.unwrap();
    certificate.look_again().await;
    assert!(!certificate.in_use.unwrap().validity.has_ended(Timestamp::now()));
}

/// kubeadm's phase kubelet-finalize: `kubelet.conf` names the link afterwards, if that is there.
#[tokio::test]
async fn the_certificate_in_a_kubeconfig_is_where_renewed_ones_will_be() {
    let disk = Disk::new();
    disk.write_kubeconfig();
    let options = disk.options(false);
    let files = RenewedLeaf::new(&options.directory, "kubelet-client");
    let rotate = false;
    ClientCertificate::start(ClientOptions {
        rotate,
        ..options.clone()
    })
    .await
    .unwrap();
    assert!(files.read().unwrap().is_none(), "nothing will be renewed");

    let (_client, certificate) = ClientCertificate::start(options.clone()).await.unwrap();
    let used = certificate.in_use.unwrap().validity;
    let kept = files.read().unwrap().unwrap();
    assert_eq!(Validity::of_pem(&kept.certificate), Some(used));
    let link = std::fs::read_link(files.current()).unwrap();

    let written = with_certificate_file(&options.kubeconfig, &files.current()).unwrap();
    std::fs::write(&options.kubeconfig, orlop_api::wire::to_yaml(&written)).unwrap();
    let (_client, certificate) = ClientCertificate::start(options).await.unwrap();
    assert_eq!(certificate.in_use.unwrap().validity, used);
    assert_eq!(std::fs::read_link(files.current()).unwrap(), link);
}

#[tokio::test]
async fn a_kubeconfig_that_names_the_renewed_certificate_uses_it() {
    let disk = Disk::new();
    disk.write_kubeconfig();
    let renewed = disk.save_renewed();
    let options = disk.options(false);
    let current = options.directory.join("kubelet-client-current.pem");
    let written = with_certificate_file(&options.kubeconfig, &current).unwrap();
    std::fs::write(&options.kubeconfig, orlop_api::wire::to_yaml(&written)).unwrap();
    let (_client, certificate) = ClientCertificate::start(options).await.unwrap();
    assert_eq!(certificate.in_use.unwrap().validity, renewed);
    assert!(!certificate.bootstrapping);
}

#[tokio::test]
async fn a_certificate_that_is_replaced_beside_its_kubeconfig_is_taken_up() {
    let disk = Disk::new();
    disk.write_kubeconfig();
    let first = disk.save_renewed();
    let options = disk.options(false);
    let current = options.directory.join("kubelet-client-current.pem");
    let written = with_certificate_file(&options.kubeconfig, &current).unwrap();
    std::fs::write(&options.kubeconfig, orlop_api::wire::to_yaml(&written)).unwrap();
    let (_client, mut certificate) = ClientCertificate::start(options).await.unwrap();
    assert!(!certificate.sources.have_changed());
    certificate.in_use = None;
    certificate.look_again().await;
    assert_eq!(certificate.in_use, None, "nothing has changed");
    let other = disk.dir.path().join("other.pem");
    std::fs::copy(&current, &other).unwrap();
    let put = async {
        // The wait has begun.
        tokio::task::yield_now().await;
        std::fs::rename(&other, &current).unwrap();
    };
    let waited = async { tokio::join!(certificate.pause(Duration::from_secs(3600)), put) };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, waited).await.unwrap();
    certificate.look_again().await;
    assert_eq!(certificate.in_use.unwrap().validity, first);
}
