//! Compose projects: files with what they include, extend, and lay over each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use watchpost_targets::yaml::{self, Node, Value};

use crate::find::{self, is_override};
use crate::interpolate::{Variables, env_file};
use crate::service::{Context, Service, Written};

/// Files may include each other this deep.
const MAX_DEPTH: usize = 16;
/// Files of one project.
const MAX_FILES: usize = 1_000;

/// A file that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0: the whole file.
    pub line: u32,
    /// Why.
    pub message: String,
}

/// A project.
#[derive(Debug, Default)]
pub struct Project {
    /// The file by which it is known.
    pub file: PathBuf,
    /// Its services, by name.
    pub services: BTreeMap<String, Service>,
    /// The files that were read.
    pub files: BTreeSet<PathBuf>,
}

/// Reads projects.
pub struct Loader<'a> {
    environment: &'a Variables,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
    parsed: BTreeMap<PathBuf, Option<Rc<Node>>>,
}

impl<'a> Loader<'a> {
    /// Reads projects with the variables of this process.
    #[must_use]
    pub fn new(environment: &'a Variables) -> Self {
        Self { environment, problems: Vec::new(), parsed: BTreeMap::new() }
    }

    /// Reads all compose files that were found, each once: what is included by another, or laid over
    /// another, is no project of its own.
    pub fn load(&mut self, files: &[PathBuf]) -> Vec<Project> {
        let groups = groups(files);
        let mut projects: Vec<Project> = Vec::new();
        for group in groups {
            let mut project = Project { file: group[0].clone(), ..Project::default() };
            for file in &group {
                let context = self.context(file, None);
                self.file(file, &context, &mut project, &mut Vec::new());
            }
            projects.push(project);
        }
        let reached: BTreeSet<PathBuf> = projects
            .iter()
            .flat_map(|project| {
                let others = project.files.iter().filter(|file| **file != real(&project.file));
                others.cloned()
            })
            .collect();
        projects.retain(|project| !reached.contains(&real(&project.file)));
        projects
    }

    /// The variables that hold in a file: those of the process, then those of `.env` beside it.
    fn context(&self, file: &Path, env: Option<&[PathBuf]>) -> Context {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let mut variables = Variables::new();
        let beside = [folder.join(".env")];
        for path in env.unwrap_or(&beside) {
            if let Ok(text) = find::read(path) {
                variables.extend(env_file(&text, self.environment));
            }
        }
        variables.extend(self.environment.iter().map(|(k, v)| (k.clone(), v.clone())));
        Context { file: file.display().to_string().into(), folder, variables: Rc::new(variables) }
    }

    fn problem(&mut self, file: &Path, line: u32, message: impl Into<String>) {
        let problem = FileProblem { file: file.to_owned(), line, message: message.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn parse(&mut self, file: &Path) -> Option<Rc<Node>> {
        let key = real(file);
        if let Some(parsed) = self.parsed.get(&key) {
            return parsed.clone();
        }
        let parsed = match find::read(file) {
            Err(why) => {
                self.problem(file, 0, why);
                None
            }
            Ok(text) => match yaml::parse_all(&text) {
                Ok((document, duplicates)) => {
                    // Told; the first value stands.
                    for duplicate in duplicates {
                        self.problem(file, duplicate.mark.line, duplicate.message);
                    }
                    Some(document)
                }
                Err(error) => {
                    self.problem(file, error.mark.line, error.message);
                    None
                }
            },
        };
        self.parsed.insert(key, parsed.clone());
        parsed
    }

    /// Adds the services of a file and of those that it includes.
    fn file(
        &mut self,
        file: &Path,
        context: &Context,
        project: &mut Project,
        stack: &mut Vec<PathBuf>,
    ) {
        let key = real(file);
        if stack.contains(&key) {
            self.problem(file, 0, "it includes itself");
            return;
        }
        if stack.len() >= MAX_DEPTH || project.files.len() >= MAX_FILES {
            self.problem(file, 0, "too many files include each other");
            return;
        }
        let Some(document) = self.parse(file) else { return };
        if !project.files.insert(key.clone()) && !stack.is_empty() {
            return;
        }
        stack.push(key);
        if let Some(included) = document.get("include") {
            self.included(included, context, project, stack);
        }
        for (name, mark, node) in services(&document) {
            let mut chain = Vec::new();
            let service = Service::read(name, mark, node, context);
            let service = self.extended(service, file, context, &mut chain);
            let service = match project.services.get(name) {
                Some(below) => service.over(below),
                None => service,
            };
            project.services.insert(name.to_owned(), service);
        }
        stack.pop();
    }

    fn included(
        &mut self,
        node: &Rc<Node>,
        context: &Context,
        project: &mut Project,
        stack: &mut Vec<PathBuf>,
    ) {
        let Value::Sequence(items) = &node.value else { return };
        for item in items {
            let text = |node: &Node| Some(context.written(node.text()?, node.mark));
            let list = |node: Option<&Rc<Node>>| -> Vec<Written> {
                match node.map(|node| &node.value) {
                    Some(Value::Sequence(items)) => items.iter().filter_map(|n| text(n)).collect(),
                    Some(_) => node.and_then(|node| text(node)).into_iter().collect(),
                    None => Vec::new(),
                }
            };
            let (paths, env) = match item.text() {
                Some(_) => (text(item).into_iter().collect(), Vec::new()),
                None => (list(item.get("path")), list(item.get("env_file"))),
            };
            let env: Vec<PathBuf> =
                env.iter().filter_map(|written| self.path(written, context)).collect();
            for written in &paths {
                let Some(path) = self.path(written, context) else { continue };
                let own = (!env.is_empty()).then_some(env.as_slice());
                let mut inner = self.context(&path, own);
                // What holds in the including file holds in the included one, too.
                let mut variables = (*inner.variables).clone();
                for (name, value) in &*context.variables {
                    variables.entry(name.clone()).or_insert_with(|| value.clone());
                }
                inner.variables = Rc::new(variables);
                self.file(&path, &inner, project, stack);
            }
        }
    }

    /// The path that a text names, beside its file. What cannot be known is told.
    fn path(&mut self, written: &Written, context: &Context) -> Option<PathBuf> {
        let filled = written.fill();
        let file = PathBuf::from(&*written.origin.file);
        if let Some(wrong) = filled.wrong {
            self.problem(&file, written.origin.line, wrong);
            return None;
        }
        if !filled.unset.is_empty() {
            let names = filled.unset.join(", ");
            let message = format!("{}: the variable {names} is not set", written.text);
            self.problem(&file, written.origin.line, message);
            return None;
        }
        Some(context.folder.join(filled.text))
    }

    /// A service laid over the one that it extends.
    fn extended(
        &mut self,
        service: Service,
        file: &Path,
        context: &Context,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Service {
        let Some((other, name)) = service.extends.clone() else { return service };
        let (path, context) = match &other {
            Some(written) => match self.path(written, context) {
                Some(path) => {
                    let context = self.context(&path, None);
                    (path, context)
                }
                None => return service,
            },
            None => (file.to_owned(), context.clone()),
        };
        let link = (real(&path), name.clone());
        if chain.contains(&link) || chain.len() >= MAX_DEPTH {
            self.problem(file, service.origin.line, format!("{} extends itself", service.name));
            return service;
        }
        chain.push(link);
        let Some(document) = self.parse(&path) else { return service };
        let found = services(&document).find(|(have, ..)| *have == name);
        let Some((_, mark, node)) = found else {
            let message =
                format!("{} extends {name}, which {} lacks", service.name, path.display());
            self.problem(file, service.origin.line, message);
            return service;
        };
        let below = Service::read(&name, mark, node, &context);
        let below = self.extended(below, &path, &context, chain);
        service.over(&below)
    }
}

/// The services of a document; those of Compose's first version stand at the top.
fn services(document: &Node) -> impl Iterator<Item = (&str, yaml::Mark, &Rc<Node>)> {
    let listed = document.get("services").map(|node| node.entries());
    let old = |entry: &&yaml::Entry| {
        let node = &entry.value;
        node.get("image").is_some() || node.get("build").is_some()
    };
    let top = listed.is_none().then(|| document.entries().iter().filter(old));
    let all = listed.unwrap_or_default().iter().chain(top.into_iter().flatten());
    // A service without anything in it is one that an override takes away.
    let all = all.filter(|entry| matches!(entry.value.value, Value::Mapping(_)));
    all.map(|entry| (entry.key.as_str(), entry.key_mark, &entry.value))
}

/// A path without links, to know a file again.
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Files that make a project together: each alone, but for overrides, which are laid over the plain
/// file of their folder.
fn groups(files: &[PathBuf]) -> Vec<Vec<PathBuf>> {
    let name = |path: &Path| {
        path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    };
    // In the order in which Compose looks for the one file of a folder.
    let rank = |path: &Path| {
        let plain = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
        plain.iter().position(|have| **have == name(path))
    };
    let mut groups: Vec<Vec<PathBuf>> =
        files.iter().filter(|f| !is_override(&name(f))).map(|f| vec![f.clone()]).collect();
    for file in files.iter().filter(|file| is_override(&name(file))) {
        let same = |group: &&mut Vec<PathBuf>| group[0].parent() == file.parent();
        let plain = groups.iter_mut().filter(same).min_by_key(|group| rank(&group[0]).unwrap_or(9));
        match plain {
            Some(group) => group.push(file.clone()),
            None => groups.push(vec![file.clone()]),
        }
    }
    groups
}
