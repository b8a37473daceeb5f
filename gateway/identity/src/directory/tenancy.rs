//! Domains, projects, and the roles that users have in them.

use std::sync::Arc;

use super::Directory;
use super::changes::ChangeKind;
use super::check::Problems;
use super::draft::{Draft, Edit};
use super::random;
use super::tables::Tables;
use crate::error::DirectoryError;
use crate::model::{Attributes, DEFAULT_DOMAIN, Domain, Project, RoleAssignment, Scope};

/// Roles of one user.
pub(super) const MAX_ROLES: usize = 1_024;

impl Directory {
    /// Makes a domain: with this identifier (1 to 64 of `A-Z a-z 0-9 . _ -`), or one that is made up.
    ///
    /// # Errors
    /// [`DirectoryError::Conflict`] with `id` or `name`; [`DirectoryError::Invalid`].
    pub fn create_domain(
        &self,
        id: Option<String>,
        name: &str,
        attributes: Attributes,
    ) -> Result<Arc<Domain>, DirectoryError> {
        let id = id.map_or_else(random::id, Ok)?;
        let domain = Arc::new(Domain { id, name: name.to_owned(), enabled: true, attributes });
        self.change(|tables, draft| {
            if tables.domains.contains_key(&domain.id) {
                return Err(DirectoryError::Conflict("id"));
            }
            check_domain(tables, &domain)?;
            draft.tell(ChangeKind::Created, vec![format!("domain:{}", domain.id)]);
            draft.edit(Edit::Domain(Arc::clone(&domain)))
        })?;
        Ok(domain)
    }

    /// Enables or disables a domain, and with it all its users.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn set_domain_enabled(&self, id: &str, enabled: bool) -> Result<Arc<Domain>, DirectoryError> {
        self.change(|tables, draft| {
            let old = tables.domains.get(id).ok_or(DirectoryError::NotFound)?;
            let domain = Arc::new(Domain { enabled, ..Domain::clone(old) });
            draft.tell(switched(enabled), within_domain(tables, id));
            draft.edit(Edit::Domain(Arc::clone(&domain)))?;
            Ok(domain)
        })
    }

    /// Deletes a domain in which nothing is left, with the roles that were given in it. The one that exists from the start
    /// stays.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`]; [`DirectoryError::Invalid`] while it has users or projects.
    pub fn delete_domain(&self, id: &str) -> Result<(), DirectoryError> {
        self.change(|tables, draft| {
            if !tables.domains.contains_key(id) {
                return Err(DirectoryError::NotFound);
            }
            let mut problems = Problems::default();
            problems.expect(id != DEFAULT_DOMAIN, "domain", "is the one that always exists");
            let users = tables.users.values().any(|account| account.user.domain_id == id);
            problems.expect(!users, "domain", "has users");
            let projects = tables.projects.values().any(|project| project.domain_id == id);
            problems.expect(!projects, "domain", "has projects");
            problems.result()?;
            drop_scope(tables, draft, format!("domain:{id}"), &Scope::Domain(id.to_owned()))?;
            draft.edit(Edit::DropDomain(id.to_owned()))
        })
    }

    /// Makes a project in a domain, below another of the same domain or not.
    ///
    /// # Errors
    /// [`DirectoryError::Conflict`] with `name`; [`DirectoryError::Invalid`].
    pub fn create_project(
        &self,
        domain_id: &str,
        name: &str,
        parent_id: Option<String>,
        attributes: Attributes,
    ) -> Result<Arc<Project>, DirectoryError> {
        let (id, name, domain_id) = (random::id()?, name.to_owned(), domain_id.to_owned());
        let project = Arc::new(Project { id, name, domain_id, parent_id, enabled: true, attributes });
        self.change(|tables, draft| {
            check_project(tables, &project)?;
            draft.tell(ChangeKind::Created, vec![format!("project:{}", project.id)]);
            draft.edit(Edit::Project(Arc::clone(&project)))
        })?;
        Ok(project)
    }

    /// Enables or disables a project.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`].
    pub fn set_project_enabled(&self, id: &str, enabled: bool) -> Result<Arc<Project>, DirectoryError> {
        self.change(|tables, draft| {
            let old = tables.projects.get(id).ok_or(DirectoryError::NotFound)?;
            let project = Arc::new(Project { enabled, ..Project::clone(old) });
            draft.tell(switched(enabled), within_project(tables, id));
            draft.edit(Edit::Project(Arc::clone(&project)))?;
            Ok(project)
        })
    }

    /// Deletes a project below which there is none, with the roles that were given in it.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`]; [`DirectoryError::Invalid`] while there are projects below it.
    pub fn delete_project(&self, id: &str) -> Result<(), DirectoryError> {
        self.change(|tables, draft| {
            if !tables.projects.contains_key(id) {
                return Err(DirectoryError::NotFound);
            }
            let mut problems = Problems::default();
            let below = tables.projects.values().any(|project| project.parent_id.as_deref() == Some(id));
            problems.expect(!below, "project", "has projects below it");
            problems.result()?;
            drop_scope(tables, draft, format!("project:{id}"), &Scope::Project(id.to_owned()))?;
            draft.edit(Edit::DropProject(id.to_owned()))
        })
    }

    /// Gives a user a role. False: the user had it.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] without such a user; [`DirectoryError::Invalid`].
    pub fn assign_role(&self, user_id: &str, role: RoleAssignment) -> Result<bool, DirectoryError> {
        self.change_roles(user_id, |tables, roles| {
            check_role(tables, &role)?;
            match roles.binary_search(&role) {
                Ok(_) => Ok(false),
                Err(_) if roles.len() >= MAX_ROLES => Err(super::check::invalid("role", "would be one too many")),
                Err(at) => {
                    roles.insert(at, role);
                    Ok(true)
                }
            }
        })
    }

    /// Takes a role from a user. False: the user did not have it.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] without such a user.
    pub fn remove_role(&self, user_id: &str, role: &RoleAssignment) -> Result<bool, DirectoryError> {
        self.change_roles(user_id, |_, roles| {
            Ok(match roles.binary_search(role) {
                Ok(at) => {
                    roles.remove(at);
                    true
                }
                Err(_) => false,
            })
        })
    }

    fn change_roles(
        &self,
        user_id: &str,
        edit: impl FnOnce(&Tables, &mut Vec<RoleAssignment>) -> Result<bool, DirectoryError>,
    ) -> Result<bool, DirectoryError> {
        self.change(|tables, draft| {
            if !tables.users.contains_key(user_id) {
                return Err(DirectoryError::NotFound);
            }
            let mut roles = tables.roles.get(user_id).cloned().unwrap_or_default();
            let changed = edit(tables, &mut roles)?;
            if changed {
                draft.tell(ChangeKind::Updated, super::users::dependents(tables, user_id));
                draft.edit(Edit::Roles(user_id.to_owned(), roles))?;
            }
            Ok(changed)
        })
    }
}

/// A domain, its users with what depends on them, and whoever has a role in it.
pub(super) fn within_domain(tables: &Tables, id: &str) -> Vec<String> {
    let users = tables.users.values().filter(|account| account.user.domain_id == id);
    let users = users.flat_map(|account| super::users::dependents(tables, &account.user.id));
    // Users of other domains may have roles in this one, or in a project of it.
    let within = |role: &RoleAssignment| match &role.scope {
        Scope::System => false,
        Scope::Domain(of) => of == id,
        Scope::Project(of) => tables.projects.get(of).is_some_and(|project| project.domain_id == id),
    };
    let holders = tables.roles.iter().filter(|(_, roles)| roles.iter().any(within));
    let users = users.chain(holders.map(|(user, _)| format!("user:{user}")));
    std::iter::once(format!("domain:{id}")).chain(users).collect()
}

/// A project, and whoever has a role in it.
pub(super) fn within_project(tables: &Tables, id: &str) -> Vec<String> {
    let scope = Scope::Project(id.to_owned());
    let holders = tables.roles.iter().filter(|(_, roles)| roles.iter().any(|role| role.scope == scope));
    std::iter::once(format!("project:{id}")).chain(holders.map(|(user, _)| format!("user:{user}"))).collect()
}

/// Takes the roles that were given in a scope that goes, and tells those who had them.
fn drop_scope(tables: &Tables, draft: &mut Draft, entry: String, scope: &Scope) -> Result<(), DirectoryError> {
    let mut told = vec![entry];
    for (user, roles) in &tables.roles {
        let left: Vec<_> = roles.iter().filter(|role| role.scope != *scope).cloned().collect();
        if left.len() < roles.len() {
            told.extend(super::users::dependents(tables, user));
            draft.edit(Edit::Roles(user.clone(), left))?;
        }
    }
    draft.tell(ChangeKind::Deleted, told);
    Ok(())
}

fn switched(enabled: bool) -> ChangeKind {
    if enabled { ChangeKind::Updated } else { ChangeKind::Disabled }
}

pub(super) fn check_domain(tables: &Tables, domain: &Domain) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    problems.word("id", &domain.id, "._-");
    problems.text("name", &domain.name, 64);
    problems.attributes(&domain.attributes);
    problems.result()?;
    match tables.domain_names.get(&domain.name) {
        Some(id) if *id != domain.id => Err(DirectoryError::Conflict("name")),
        _ => Ok(()),
    }
}

pub(super) fn check_project(tables: &Tables, project: &Project) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    problems.text("name", &project.name, 64);
    problems.expect(tables.domains.contains_key(&project.domain_id), "domain-id", "is not a domain of the directory");
    if let Some(parent) = &project.parent_id {
        let other = tables.projects.get(parent).filter(|parent| parent.domain_id == project.domain_id);
        problems.expect(other.is_some(), "parent-id", "is not another project of the domain");
        problems.expect(!is_above(tables, &project.id, parent), "parent-id", "is the project itself or below it");
    }
    problems.attributes(&project.attributes);
    problems.result()?;
    check_project_name(tables, project)
}

/// Whether the project `id` is `from`, or somewhere above it.
fn is_above(tables: &Tables, id: &str, from: &str) -> bool {
    let mut next = tables.projects.get(from);
    // More steps than projects: a circle that somebody else is part of.
    for _ in 0..tables.projects.len() {
        let Some(project) = next else { return from == id };
        if project.id == id {
            return true;
        }
        next = project.parent_id.as_ref().and_then(|parent| tables.projects.get(parent));
    }
    next.is_some()
}

/// Whether the name of a project is nobody else's in its domain.
pub(super) fn check_project_name(tables: &Tables, project: &Project) -> Result<(), DirectoryError> {
    match tables.project_names.get(&(project.domain_id.clone(), project.name.clone())) {
        Some(id) if *id != project.id => Err(DirectoryError::Conflict("name")),
        _ => Ok(()),
    }
}

pub(super) fn check_role(tables: &Tables, role: &RoleAssignment) -> Result<(), DirectoryError> {
    let mut problems = Problems::default();
    problems.text("role", &role.role, 64);
    match &role.scope {
        Scope::System => {}
        Scope::Domain(id) => {
            problems.expect(tables.domains.contains_key(id), "scope", "is not a domain of the directory");
        }
        Scope::Project(id) => {
            problems.expect(tables.projects.contains_key(id), "scope", "is not a project of the directory");
        }
    }
    problems.result()
}
