//! Manifests and indexes (OCI image specification), as far as they lead to a component.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::reference::is_digest;

/// What is asked for, in the order in which it is liked.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Types under which tools push components.
const WASM: [&str; 4] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];

/// The annotation of a manifest that holds the text of the component's detached signature.
pub(super) const SIGNATURE: &str = "io.portcullis.minisign";

/// The largest component that the gateway takes.
const LARGEST: u64 = 64 << 20;

/// Either of the two.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What points to something.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// Where a component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// SHA-256 of it, in hexadecimal.
    pub(super) digest: String,
    /// Octets.
    pub(super) size: u64,
    /// The text of its signature.
    pub(super) signature: Option<String>,
}

impl Document {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|why| format!("its manifest makes no sense: {why}"))
    }

    /// Of an index: the digest of the manifest that is about WebAssembly. None: it is no index.
    pub(super) fn manifest(&self) -> Result<Option<String>, String> {
        if self.manifests.is_empty() {
            return Ok(None);
        }
        let wasm = |descriptor: &&Descriptor| {
            descriptor
                .platform
                .as_ref()
                .is_some_and(|on| on.architecture.starts_with("wasm") || on.os.starts_with("wasi"))
        };
        let found: Vec<_> = self.manifests.iter().filter(wasm).collect();
        match (&found[..], &self.manifests[..]) {
            ([one], _) => hex(&one.digest).map(Some),
            ([], [one]) => hex(&one.digest).map(Some),
            ([], _) => Err("its index has several manifests, and none is about the platform wasm".to_owned()),
            _ => Err("its index has several manifests about the platform wasm; name one by its digest".to_owned()),
        }
    }

    /// Of a manifest: the one layer with a component.
    pub(super) fn layer(&self) -> Result<Layer, String> {
        let wasm: Vec<_> = self.layers.iter().filter(|layer| WASM.contains(&layer.media_type.as_str())).collect();
        let [layer] = wasm[..] else {
            let types: Vec<_> = self.layers.iter().map(|layer| layer.media_type.as_str()).collect();
            return Err(format!(
                "its manifest has {} layers of WebAssembly, and there must be one (`{}`); its layers are: {}",
                wasm.len(),
                WASM[0],
                if types.is_empty() { "none".to_owned() } else { types.join(", ") }
            ));
        };
        if layer.size > LARGEST {
            return Err(format!("its component has {} octets; the gateway takes at most {LARGEST}", layer.size));
        }
        let signature = self.annotations.get(SIGNATURE).cloned();
        Ok(Layer { digest: hex(&layer.digest)?, size: layer.size, signature })
    }
}

fn hex(digest: &str) -> Result<String, String> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| is_digest(hex));
    hex.map(str::to_owned).ok_or_else(|| format!("the digest {digest:?} is not one of sha256"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(of: u8) -> String {
        format!("sha256:{}", format!("{of:02x}").repeat(32))
    }

    fn read(value: &serde_json::Value) -> Document {
        Document::read(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn one_layer_of_webassembly_is_found() {
        let layer = |kind: &str, size: u64| json!({ "mediaType": kind, "digest": digest(1), "size": size });
        let found = read(&json!({ "layers": [layer("text/plain", 3), layer("application/wasm", 7)],
            "annotations": { SIGNATURE: "signed" } }));
        let expected = Layer { digest: "01".repeat(32), size: 7, signature: Some("signed".to_owned()) };
        assert_eq!(found.layer(), Ok(expected));
        assert_eq!(found.manifest(), Ok(None));
        for wrong in [
            json!({ "layers": [] }),
            json!({ "layers": [layer("application/wasm", 1), layer("application/wasm", 1)] }),
            json!({ "layers": [layer("application/wasm", LARGEST + 1)] }),
            json!({ "layers": [{ "mediaType": "application/wasm", "digest": "sha256:../../x", "size": 1 }] }),
        ] {
            assert!(read(&wrong).layer().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_index_leads_to_the_one_about_webassembly() {
        let on = |of: u8, architecture: &str| json!({ "digest": digest(of), "size": 1, "platform": { "architecture": architecture, "os": "linux" } });
        let chosen = |manifests: serde_json::Value| read(&json!({ "manifests": manifests })).manifest();
        assert_eq!(chosen(json!([on(1, "amd64"), on(2, "wasm")])), Ok(Some("02".repeat(32))));
        assert_eq!(chosen(json!([on(1, "amd64")])), Ok(Some("01".repeat(32))), "there is no choice");
        assert!(chosen(json!([on(1, "amd64"), on(2, "arm64")])).is_err());
        assert!(chosen(json!([on(1, "wasm"), on(2, "wasm32")])).is_err());
    }
}
