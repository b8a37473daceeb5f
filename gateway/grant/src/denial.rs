//! Why a client is refused, in words that each protocol translates.

use portcullis_mqtt::ReasonCode;

/// Reasons in the words of the schemes. The list is the contract's `deny-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The credentials are of the scheme and wrong, unknown, expired or revoked.
    BadCredentials,
    /// It is known who this is; this may not be done here.
    NotAuthorized,
    /// The client identifier is not allowed to this identity.
    ClientIdNotValid,
    /// The authentication method is not served here.
    BadAuthenticationMethod,
    /// The account or address is locked.
    Banned,
    /// A quota is used up.
    QuotaExceeded,
    /// Too many attempts.
    RateExceeded,
    /// What is needed to decide cannot be reached.
    Unavailable,
    /// The request makes no sense in this scheme.
    Malformed,
    /// The gateway has enough to do for now.
    ServerBusy,
    /// The client belongs to another server.
    UseAnotherServer,
}

impl DenyReason {
    /// The words of the reason, for logs and as the default text to a client. Kebab case as in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadCredentials => "bad-credentials",
            Self::NotAuthorized => "not-authorized",
            Self::ClientIdNotValid => "client-id-not-valid",
            Self::BadAuthenticationMethod => "bad-authentication-method",
            Self::Banned => "banned",
            Self::QuotaExceeded => "quota-exceeded",
            Self::RateExceeded => "rate-exceeded",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::ServerBusy => "server-busy",
            Self::UseAnotherServer => "use-another-server",
        }
    }

    /// MQTT 5 reason code (§2.4).
    #[must_use]
    pub fn reason_code(self) -> ReasonCode {
        match self {
            Self::BadCredentials => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            Self::NotAuthorized => ReasonCode::NOT_AUTHORIZED,
            Self::ClientIdNotValid => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            Self::BadAuthenticationMethod => ReasonCode::BAD_AUTHENTICATION_METHOD,
            Self::Banned => ReasonCode::BANNED,
            Self::QuotaExceeded => ReasonCode::QUOTA_EXCEEDED,
            Self::RateExceeded => ReasonCode::CONNECTION_RATE_EXCEEDED,
            Self::Unavailable => ReasonCode::SERVER_UNAVAILABLE,
            Self::Malformed => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
            Self::ServerBusy => ReasonCode::SERVER_BUSY,
            Self::UseAnotherServer => ReasonCode::USE_ANOTHER_SERVER,
        }
    }

    /// MQTT 3.1 and 3.1.1 return code of CONNACK (3.1.1 §3.2.2.3).
    #[must_use]
    pub fn return_code(self) -> u8 {
        match self {
            Self::ClientIdNotValid => 2,
            Self::QuotaExceeded
            | Self::RateExceeded
            | Self::Unavailable
            | Self::ServerBusy
            | Self::UseAnotherServer => 3,
            Self::BadCredentials => 4,
            Self::NotAuthorized | Self::BadAuthenticationMethod | Self::Banned | Self::Malformed => 5,
        }
    }

    /// Whether a client may be told where to go instead: the contract's `server-reference` is for these.
    #[must_use]
    pub fn sends_elsewhere(self) -> bool {
        matches!(self, Self::ServerBusy | Self::UseAnotherServer)
    }

    /// HTTP status (RFC 9110 §15).
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadCredentials | Self::BadAuthenticationMethod => 401,
            Self::NotAuthorized | Self::Banned => 403,
            Self::ClientIdNotValid | Self::Malformed => 400,
            Self::QuotaExceeded | Self::RateExceeded => 429,
            Self::Unavailable | Self::ServerBusy => 503,
            Self::UseAnotherServer => 421,
        }
    }
}

/// A refusal as a policy words it.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The reason, translated by each protocol.
    pub reason: DenyReason,
    /// For people who run the gateway. Never sent to the client.
    pub detail: String,
    /// For the client: MQTT 5 reason string, or the body of an HTTP error.
    pub message: Option<String>,
    /// Seconds after which another attempt makes sense.
    pub retry_after: Option<u32>,
    /// Where to go instead (MQTT 5 §4.11).
    pub server_reference: Option<String>,
    /// HTTP: answer exactly this instead.
    pub http: Option<Box<HttpAnswer>>,
}

impl Denial {
    /// A denial with no more than a reason and a detail for the operator.
    #[must_use]
    pub fn new(reason: DenyReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), message: None, retry_after: None, server_reference: None, http: None }
    }
}

/// A whole HTTP response, bounded by the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}
