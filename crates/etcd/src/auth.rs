//! The Auth service: authentication of etcd's own kind is off and stays off; certificates are checked
//! by the listener.
use etcd_client::proto::PbResponseHeader;
use prost::Message;
use tonic::Status;

/// `AuthStatusResponse`, for which the client crate has no public name.
#[derive(Clone, PartialEq, Message)]
struct AuthStatus {
    #[prost(message, optional, tag = "1")]
    header: Option<PbResponseHeader>,
    #[prost(bool, tag = "2")]
    enabled: bool,
    #[prost(uint64, tag = "3")]
    auth_revision: u64,
}

/// Answers a call by the method's name. There are no users and no roles, so nobody is found; none can be added either.
pub fn answer(method: &str, header: PbResponseHeader) -> http::Response<tonic::body::Body> {
    let failed = |text: &str| Status::failed_precondition(format!("etcdserver: {text}")).into_http();
    match method {
        "AuthStatus" => unary(AuthStatus {
            header: Some(header),
            enabled: false,
            auth_revision: 1,
        }),
        // Of the lists' messages, and of what turns off what is off, only the header is filled.
        "UserList" | "RoleList" | "AuthDisable" => unary(AuthStatus {
            header: Some(header),
            ..AuthStatus::default()
        }),
        "AuthEnable" => failed("root user does not exist"),
        "Authenticate" => failed("authentication is not enabled"),
        "UserGet" | "UserDelete" | "UserChangePassword" | "UserGrantRole" | "UserRevokeRole" => {
            failed("user name not found")
        }
        "RoleGet" | "RoleDelete" | "RoleGrantPermission" | "RoleRevokePermission" => {
            failed("role name not found")
        }
        "UserAdd" | "RoleAdd" => {
            Status::unimplemented("users and roles are not served; access is by client certificate")
                .into_http()
        }
        _ => Status::unimplemented(format!("unknown method {method} for service etcdserverpb.Auth"))
            .into_http(),
    }
}

fn unary(message: AuthStatus) -> http::Response<tonic::body::Body> {
    crate::unary::response(crate::unary::encoded(message)).map(tonic::body::Body::new)
}
