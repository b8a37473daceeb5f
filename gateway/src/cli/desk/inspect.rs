//! `portcullis policy inspect FILE`: what a component is, what it asks for, and what it says of itself. Nothing is changed.

use std::path::Path;

use portcullis_policy::{
    Abilities, Allow, Anatomy, Description, DirectoryAccess, Fault, Host, PolicySpec, contract_version, digest_of,
    granting_line,
};
use serde_json::{Value, json};

use super::subject::Subject;
use crate::cli::{Exit, Failure, out, table, versions};
use crate::policies;

/// Everything that is known of a component.
struct Known {
    origin: String,
    digest: String,
    octets: usize,
    /// What there is to say of the signature beside it.
    signature: String,
    compiled: usize,
    anatomy: Anatomy,
    abilities: Abilities,
    says: Option<Description>,
    /// Why it does not go live as it is: often it needs a configuration.
    fault: Option<String>,
}

/// Looks at a component.
pub(in crate::cli) fn run(named: &str, key: Option<&str>, as_json: bool) -> Result<Exit, Failure> {
    let subject = Subject::read(named)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signature = versions::signature(Path::new(named), &subject.component, key)?;
    let known = runtime.block_on(look(&subject, signature))?;
    if as_json {
        out::line(known.document());
    } else {
        known.show();
    }
    Ok(Exit::Success)
}

async fn look(subject: &Subject, signature: String) -> Result<Known, Failure> {
    let unfit =
        |why: Fault| Failure::new(format!("{} is not fit to be a policy: {why}", subject.origin), Exit::Failure);
    let anatomy = Anatomy::of(&subject.component).map_err(unfit)?;
    let host: Host = super::host_with(None, Some(subject.compiler.clone()))?;
    let abilities = host.examine(subject.component.clone()).await.map_err(unfit)?;
    let mut spec = PolicySpec::new("inspected", subject.component.clone(), subject.origin.clone());
    // Everything, over rooms that are empty: what it will be given is not its own to say.
    spec.allow = match subject.is_bundled() {
        true => policies::allow(&subject.allow),
        false => Allow {
            http: Some(vec!["localhost".to_owned()]),
            keyvalue: true,
            keys: Some(Vec::new()),
            directory: DirectoryAccess::Write,
        },
    };
    let (says, fault) = match host.describe(&spec).await {
        Ok((says, fault)) => (says, fault),
        Err(why) => (None, Some(why)),
    };
    Ok(Known {
        origin: subject.origin.clone(),
        digest: digest_of(&subject.component),
        octets: subject.component.len(),
        signature,
        compiled: subject.compiler.octets(),
        anatomy,
        abilities,
        says,
        fault: fault.map(|fault| fault.to_string()),
    })
}

impl Known {
    /// Interfaces that must be granted, with the line that does it.
    fn needs(&self) -> Vec<(&str, &'static str)> {
        self.abilities.imports.iter().filter_map(|name| Some((name.as_str(), granting_line(name)?))).collect()
    }

    fn document(&self) -> Value {
        let says = self.says.as_ref();
        let schema = says.and_then(|says| serde_json::from_str::<Value>(&says.config_schema).ok());
        let needs: Vec<Value> =
            self.needs().into_iter().map(|(name, line)| json!({ "interface": name, "grant": line })).collect();
        let producers: Vec<Value> = self
            .anatomy
            .producers
            .iter()
            .map(|(field, name, version)| json!({ "field": field, "name": name, "version": version }))
            .collect();
        json!({
            "file": self.origin,
            "digest": self.digest,
            "octets": self.octets,
            "signature": self.signature,
            "core_modules": self.anatomy.core_modules,
            "core_octets": self.anatomy.core_octets,
            "compiled_octets": self.compiled,
            "function_names": self.anatomy.names,
            "producers": producers,
            "contract": contract_version(),
            "exports": self.abilities.exports,
            "imports": self.abilities.imports,
            "needs": needs,
            "wasi": self.abilities.wasi,
            "name": says.map(|says| says.name.as_str()),
            "version": says.map(|says| says.version.as_str()),
            "summary": says.map(|says| says.summary.as_str()),
            "schemes": says.map(|says| says.schemes.clone()),
            "methods": says.map(|says| says.methods.iter().map(|method| method.to_string()).collect::<Vec<_>>()),
            "config_schema": schema,
            "fault": self.fault,
        })
    }

    fn show(&self) {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| {
            if !value.is_empty() {
                rows.push([name.to_owned(), value]);
            }
        };
        row("file", self.origin.clone());
        row("digest", self.digest.clone());
        row("signature", self.signature.clone());
        let anatomy = &self.anatomy;
        row(
            "octets",
            format!(
                "{} ({} in {} core module{}), {} compiled",
                self.octets,
                anatomy.core_octets,
                anatomy.core_modules,
                if anatomy.core_modules == 1 { "" } else { "s" },
                self.compiled
            ),
        );
        if let Some(says) = &self.says {
            row("name", format!("{} {}", says.name, says.version));
            row("summary", says.summary.clone());
            row("schemes", says.schemes.join(", "));
            row("methods", says.methods.iter().map(|method| &**method).collect::<Vec<_>>().join(", "));
        }
        row("contract", format!("portcullis:policy {}", contract_version()));
        row("exports", self.abilities.exports.join(", "));
        row("imports", self.abilities.imports.join(", "));
        for (number, (name, line)) in self.needs().into_iter().enumerate() {
            row(if number == 0 { "needs" } else { " " }, format!("{line} for {name}"));
        }
        if self.abilities.wasi {
            row("wasi", "imported; it gets it empty".to_owned());
        }
        for (number, (field, name, version)) in anatomy.producers.iter().enumerate() {
            row(if number == 0 { "made with" } else { " " }, format!("{name} {version} ({field})").replace("  ", " "));
        }
        if !anatomy.names {
            row("names", "none: a trap will not name functions; build it without stripping them".to_owned());
        }
        if let Some(says) = &self.says {
            for (number, line) in settings(&says.config_schema).into_iter().enumerate() {
                row(if number == 0 { "config" } else { " " }, line);
            }
        }
        if let Some(fault) = &self.fault {
            row("as it is", format!("{fault} (a configuration may help)"));
        }
        table::print(&rows);
    }
}

/// The members of a configuration, each in a line.
fn settings(schema: &str) -> Vec<String> {
    let Ok(schema) = serde_json::from_str::<Value>(schema) else { return Vec::new() };
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let members = schema["properties"].as_object();
    members
        .into_iter()
        .flatten()
        .map(|(name, of)| {
            let kind = of["type"].as_str().map_or_else(String::new, |kind| format!(" ({kind})"));
            let needed = if required.contains(&name.as_str()) { ", needed" } else { "" };
            let says =
                of["description"].as_str().and_then(|text| text.split_inclusive(". ").next()).unwrap_or_default();
            format!("{name}{kind}{needed}{}{}", if says.is_empty() { "" } else { ": " }, says.trim())
        })
        .collect()
}
