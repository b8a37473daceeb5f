//! The policies that the gateway carries.

/// A bundled component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Builtin {
    /// What `builtin:NAME` and the chains of listeners call it.
    pub(crate) name: &'static str,
}

const ALL: &[Builtin] =
    &[Builtin { name: "anonymous" }, Builtin { name: "api-key" }, Builtin { name: "device" }, Builtin { name: "jwt" }];

/// The one with this name.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

/// All names, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|builtin| builtin.name)
}
