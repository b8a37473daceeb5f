//! `peer`: what the handshake and the HTTP request told, for policies that ask.

use portcullis_grant::HttpHead;

use crate::bindings::portcullis::policy::peer::{AlternativeName, Certificate, Host, TlsSession};
use crate::bindings::portcullis::policy::types::HttpRequest;
use crate::state::State;

impl State {
    fn head(&self) -> Option<&HttpHead> {
        self.call.details.as_ref()?.http.as_ref()
    }
}

impl Host for State {
    fn get_certificate(&mut self) -> Option<Certificate> {
        let of = self.call.details.as_ref()?.certificate.as_ref()?;
        let name =
            |(kind, value): &(&'static str, String)| AlternativeName { kind: (*kind).to_owned(), value: value.clone() };
        Some(Certificate {
            subject: of.subject.clone(),
            common_name: of.common_name.clone(),
            issuer: of.issuer.clone(),
            serial: of.serial.clone(),
            fingerprint: of.fingerprint.clone(),
            not_before_at: of.not_before_at,
            not_after_at: of.not_after_at,
            alternative_names: of.alternative_names.iter().map(name).collect(),
            der: of.der.to_vec(),
        })
    }

    fn get_tls(&mut self) -> Option<TlsSession> {
        let of = self.call.details.as_ref()?.tls.as_ref()?;
        Some(TlsSession {
            version: of.version.to_owned(),
            cipher_suite: of.cipher_suite.clone(),
            application_protocol: of.application_protocol.clone(),
        })
    }

    fn get_http_request(&mut self) -> Option<HttpRequest> {
        self.head().map(|head| crate::convert::http_request(head, Vec::new()))
    }

    fn get_header(&mut self, name: String) -> Vec<String> {
        self.head()
            .map(|head| head.headers.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.clone()).collect())
            .unwrap_or_default()
    }
}
