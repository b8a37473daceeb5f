//! `from`: where a client is, and how it came.

use std::path::{Path, PathBuf};

use super::super::read::{Moment, Text, Whole, members};
use crate::config::Transport;
use crate::config::reader::Section;

/// Where a client is, and how it came.
#[derive(Clone)]
pub(in crate::cli::desk) struct From {
    pub(in crate::cli::desk) listener: String,
    pub(in crate::cli::desk) transport: &'static str,
    pub(in crate::cli::desk) version: u8,
    pub(in crate::cli::desk) address: std::net::SocketAddr,
    pub(in crate::cli::desk) server_name: Option<String>,
    pub(in crate::cli::desk) certificate: Option<Certificate>,
    /// Header fields of the request that opened the WebSocket.
    pub(in crate::cli::desk) headers: Vec<(String, Text)>,
}

/// A client's certificate: a file, or what is known of it.
#[derive(Clone, Default)]
pub(in crate::cli::desk) struct Certificate {
    pub(in crate::cli::desk) pem: Option<PathBuf>,
    pub(in crate::cli::desk) subject: String,
    pub(in crate::cli::desk) common_name: Option<String>,
    pub(in crate::cli::desk) issuer: String,
    pub(in crate::cli::desk) serial: String,
    pub(in crate::cli::desk) fingerprint: String,
    pub(in crate::cli::desk) not_after: Option<Moment>,
    pub(in crate::cli::desk) names: Vec<(&'static str, String)>,
}

impl From {
    /// Where a client is when nobody says.
    pub(in crate::cli::desk) fn anywhere(http: bool) -> Self {
        Self {
            listener: if http { "http" } else { "mqtt" }.to_owned(),
            transport: "tcp",
            version: if http { 1 } else { 5 },
            address: std::net::SocketAddr::from(([192, 0, 2, 1], 50_000)),
            server_name: None,
            certificate: None,
            headers: Vec::new(),
        }
    }

    /// Reads `from`. `http`: the client speaks HTTP.
    pub(in crate::cli::desk) fn read(mut section: Section<'_>, base: &Path, http: bool) -> Self {
        let anywhere = Self::anywhere(http);
        let transport = match section.optional::<Transport>("transport") {
            None => anywhere.transport,
            Some(Transport::Tcp) => "tcp",
            Some(Transport::Tls) => "tls",
            Some(Transport::Ws) => "ws",
            Some(Transport::Wss) => "wss",
        };
        let certificate = section.section("certificate", "certificate").map(|section| Certificate::read(section, base));
        let from = Self {
            listener: section.optional("listener").unwrap_or(anywhere.listener),
            version: section.optional::<Whole>("version").map_or(anywhere.version, |w| u8::try_from(w.0).unwrap_or(0)),
            address: section.optional("address").unwrap_or(anywhere.address),
            server_name: section.optional("server-name"),
            headers: members(&mut section, "headers"),
            transport: if certificate.is_some() && transport == "tcp" { "tls" } else { transport },
            certificate,
        };
        section.finish();
        from
    }
}

impl Certificate {
    fn read(mut section: Section<'_>, base: &Path) -> Self {
        let mut names = Vec::new();
        for kind in ["dns", "email", "uri", "ip"] {
            let list: Vec<String> = section.optional(kind).unwrap_or_default();
            names.extend(list.into_iter().map(|name| (kind, name)));
        }
        let common_name: Option<String> = section.optional("common-name");
        let subject = section.optional("subject");
        let certificate = Self {
            pem: section.optional::<String>("pem").map(|file| base.join(file)),
            subject: subject.or_else(|| Some(format!("CN={}", common_name.as_deref()?))).unwrap_or_default(),
            common_name,
            issuer: section.optional("issuer").unwrap_or_else(|| "CN=test".to_owned()),
            serial: section.optional("serial").unwrap_or_else(|| "01".to_owned()),
            fingerprint: section.optional("fingerprint").unwrap_or_else(|| "00".repeat(32)),
            not_after: section.optional("not-after"),
            names,
        };
        section.finish();
        certificate
    }
}
