//! The contract as a document: `wit/README.md`, made of `wit/*.wit` and checked to be of them.

use std::fmt::Write;
use std::path::Path;

use wit_parser::{
    Docs, Function, Handle, Interface, PackageId, Resolve, Stability, Type, TypeDefKind, TypeOwner, WorldItem, WorldKey,
};

/// The order in which interfaces are told: what every policy needs first.
const ORDER: [&str; 18] = [
    "types",
    "authentication",
    "enhanced-authentication",
    "renewal",
    "authorization",
    "http-endpoint",
    "message-filter",
    "descriptor",
    "peer",
    "log",
    "clock",
    "random",
    "config",
    "jose",
    "store",
    "http-client",
    "directory",
    "directory-admin",
];

/// Writes the document for the contract in a directory.
///
/// # Panics
/// When the contract does not parse.
#[must_use]
pub fn of(directory: &Path) -> String {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let (package, _) = resolve.push_dir(directory).expect("the contract parses");
    Document { resolve: &resolve, package, text: String::new() }.whole()
}

struct Document<'r> {
    resolve: &'r Resolve,
    package: PackageId,
    text: String,
}

impl Document<'_> {
    fn whole(mut self) -> String {
        let package = &self.resolve.packages[self.package];
        let version = package.name.version.as_ref().map(ToString::to_string).unwrap_or_default();
        self.line(&format!("# {}:{} {version}", package.name.namespace, package.name.name));
        self.line("");
        self.line(
            "The contract between the gateway and its policies. Made of the `.wit` files here, which are what counts;",
        );
        self.line("`portcullis policy wit DIR` writes them, and generators for any language read them.");
        self.docs(&package.docs);
        self.line("");
        let mut interfaces: Vec<&str> = package.interfaces.keys().map(String::as_str).collect();
        interfaces.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
        self.worlds();
        self.line("## Interfaces");
        self.line("");
        self.line("| interface | what it is |");
        self.line("| --- | --- |");
        for name in &interfaces {
            let docs = &self.interface(name).docs;
            let first = docs.contents.as_deref().unwrap_or_default().replace('\n', " ");
            let first =
                first.split_once(". ").map_or(first.as_str(), |(first, _)| first).trim_end_matches('.').to_owned();
            self.line(&format!("| [`{name}`](#{name}) | {first} |"));
        }
        for name in interfaces {
            self.tell(name);
        }
        self.text
    }

    fn interface(&self, name: &str) -> &Interface {
        &self.resolve.interfaces[self.resolve.packages[self.package].interfaces[name]]
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn docs(&mut self, docs: &Docs) {
        if let Some(words) = docs.contents.as_deref().filter(|words| !words.trim().is_empty()) {
            let words = words.trim().to_owned();
            self.line("");
            self.line(&words);
        }
    }

    fn worlds(&mut self) {
        self.line("## Worlds");
        let worlds: Vec<_> = self.resolve.packages[self.package].worlds.values().copied().collect();
        for id in worlds {
            let world = &self.resolve.worlds[id];
            self.line("");
            self.line(&format!("### World `{}`", world.name));
            self.docs(&world.docs);
            let list = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
                let names = items.map(|(key, _)| match key {
                    WorldKey::Name(name) => format!("`{name}`"),
                    WorldKey::Interface(id) => {
                        format!("`{}`", self.resolve.interfaces[*id].name.as_deref().unwrap_or_default())
                    }
                });
                names.collect::<Vec<_>>().join(", ")
            };
            let imports = list(&mut world.imports.iter());
            let exports = list(&mut world.exports.iter());
            self.line("");
            self.line(&format!("- imports: {}", if imports.is_empty() { "nothing" } else { &imports }));
            self.line(&format!("- exports: {}", if exports.is_empty() { "nothing" } else { &exports }));
        }
        self.line("");
    }

    fn tell(&mut self, name: &str) {
        let interface = self.interface(name).clone();
        self.line("");
        self.line(&format!("## {name}"));
        self.docs(&interface.docs);
        if let Stability::Unstable { feature, .. } = &interface.stability {
            let words = format!("Not stable yet: behind the feature `{feature}`.");
            self.line("");
            self.line(&words);
        }
        for function in interface.functions.values() {
            self.function(function);
        }
        for id in interface.types.values() {
            self.defined(*id);
        }
    }

    fn function(&mut self, function: &Function) {
        let parameters: Vec<_> =
            function.params.iter().map(|param| format!("{}: {}", param.name, self.name(&param.ty))).collect();
        let result = function.result.as_ref().map_or_else(String::new, |of| format!(" -> {}", self.name(of)));
        self.line("");
        self.line(&format!("### `{}: func({}){result}`", function.name, parameters.join(", ")));
        self.docs(&function.docs);
    }

    fn defined(&mut self, id: wit_parser::TypeId) {
        let of = self.resolve.types[id].clone();
        let name = of.name.clone().unwrap_or_default();
        let (kind, members): (&str, Vec<(String, String, Docs)>) = match &of.kind {
            TypeDefKind::Record(record) => {
                ("record", record.fields.iter().map(|f| (f.name.clone(), self.name(&f.ty), f.docs.clone())).collect())
            }
            TypeDefKind::Variant(variant) => (
                "variant",
                variant
                    .cases
                    .iter()
                    .map(|c| {
                        (c.name.clone(), c.ty.as_ref().map(|ty| self.name(ty)).unwrap_or_default(), c.docs.clone())
                    })
                    .collect(),
            ),
            TypeDefKind::Enum(of) => {
                ("enum", of.cases.iter().map(|c| (c.name.clone(), String::new(), c.docs.clone())).collect())
            }
            TypeDefKind::Flags(of) => {
                ("flags", of.flags.iter().map(|f| (f.name.clone(), String::new(), f.docs.clone())).collect())
            }
            // `use` makes an alias, which is told where it comes from.
            _ => return,
        };
        self.line("");
        self.line(&format!("### {kind} `{name}`"));
        self.docs(&of.docs);
        self.line("");
        let typed = members.iter().any(|(_, of, _)| !of.is_empty());
        self.line(if typed { "| name | type | meaning |" } else { "| name | meaning |" });
        self.line(if typed { "| --- | --- | --- |" } else { "| --- | --- |" });
        for (name, of, docs) in members {
            let words = docs.contents.unwrap_or_default().trim().replace('\n', " ").replace('|', "\\|");
            let of = if of.is_empty() { String::new() } else { format!("`{of}`") };
            let mut row = format!("| `{name}` | ");
            if typed {
                let _ = write!(row, "{of} | ");
            }
            self.line(format!("{row}{words} |").replace("|  |", "| |").as_str());
        }
    }

    fn name(&self, of: &Type) -> String {
        match of {
            Type::Bool => "bool".into(),
            Type::U8 => "u8".into(),
            Type::U16 => "u16".into(),
            Type::U32 => "u32".into(),
            Type::U64 => "u64".into(),
            Type::S8 => "s8".into(),
            Type::S16 => "s16".into(),
            Type::S32 => "s32".into(),
            Type::S64 => "s64".into(),
            Type::F32 => "f32".into(),
            Type::F64 => "f64".into(),
            Type::Char => "char".into(),
            Type::String => "string".into(),
            Type::ErrorContext => "error-context".into(),
            Type::Id(id) => self.named(*id),
        }
    }

    fn named(&self, id: wit_parser::TypeId) -> String {
        let of = &self.resolve.types[id];
        if let (Some(name), TypeOwner::Interface(_)) = (&of.name, of.owner) {
            return name.clone();
        }
        match &of.kind {
            TypeDefKind::List(of) => format!("list<{}>", self.name(of)),
            TypeDefKind::Option(of) => format!("option<{}>", self.name(of)),
            TypeDefKind::Tuple(of) => {
                let names: Vec<_> = of.types.iter().map(|of| self.name(of)).collect();
                format!("tuple<{}>", names.join(", "))
            }
            TypeDefKind::Result(of) => {
                let side = |of: &Option<Type>| of.as_ref().map_or_else(|| "_".to_owned(), |of| self.name(of));
                match (&of.ok, &of.err) {
                    (None, None) => "result".to_owned(),
                    (ok, None) => format!("result<{}>", side(ok)),
                    (ok, err) => format!("result<{}, {}>", side(ok), side(err)),
                }
            }
            TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) => self.named(*id),
            TypeDefKind::Type(of) => self.name(of),
            other => format!("{other:?}"),
        }
    }
}
