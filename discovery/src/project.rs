//! Compose projects: files with what they include, extend, and lay over each other.

mod name;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use watchpost_targets::yaml::{self, Layer, Node, Value};

use crate::find::{self, Found};
use crate::interpolate::{Variables, env_file};
use crate::reading::real;
use crate::service::{Context, EnvFile, Service, Written};
use crate::within::Within;

/// Files may include each other this deep.
const MAX_DEPTH: usize = 16;
/// Files of one project.
const MAX_FILES: usize = 1_000;
/// Includes of one project, those of the same file counted each time.
const MAX_VISITS: usize = 2_000;
/// Services of one file.
const MAX_SERVICES: usize = 2_000;
/// Keys of one file that stand there twice and are told.
const MAX_DUPLICATES: usize = 20;
/// Problems that are told.
const MAX_PROBLEMS: usize = 2_000;
/// What is read of all files together, in bytes. What is written in a hundred bytes may take some
/// kilobytes of memory.
const MAX_TOTAL: usize = 64 << 20;
/// The variables that files of a service's `env_file:` may tell: those that say where it answers.
const READ: [&str; 5] =
    ["VIRTUAL_HOST", "VIRTUAL_PATH", "VIRTUAL_HOST_MULTIPORTS", "LETSENCRYPT_HOST", "ACME_HOST"];
/// What is kept parsed, in bytes of its text: the rest is read again when it is named again.
const MAX_KEPT: usize = 8 << 20;

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

/// A file that is named and is not read, because it is not below the paths of the job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outside {
    /// The file that names it.
    pub file: PathBuf,
    /// The line, from 1; 0: the whole file.
    pub line: u32,
    /// The file that is not read.
    pub path: PathBuf,
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
    /// Files that Compose does not read, each with the name of the one that it reads instead.
    pub passed_over: Vec<(PathBuf, String)>,
    /// Files that are named and lie elsewhere.
    pub outside: BTreeSet<Outside>,
    within: Within,
    told: BTreeSet<FileProblem>,
    parsed: BTreeMap<PathBuf, Option<Rc<Node>>>,
    /// The variables that hold beside each folder, or by the files that an include names.
    variables: BTreeMap<Vec<PathBuf>, Rc<Variables>>,
    /// Variables laid over others, by where both are.
    merged: BTreeMap<[*const Variables; 2], Rc<Variables>>,
    /// Bytes that may still be read.
    left: usize,
    /// Bytes that may still be kept.
    kept: usize,
    /// Includes of this project so far.
    visits: usize,
}

impl<'a> Loader<'a> {
    /// Reads projects with variables of this process.
    #[must_use]
    pub fn new(environment: &'a Variables) -> Self {
        Self {
            environment,
            problems: Vec::new(),
            passed_over: Vec::new(),
            outside: BTreeSet::new(),
            within: Within::default(),
            told: BTreeSet::new(),
            parsed: BTreeMap::new(),
            variables: BTreeMap::new(),
            merged: BTreeMap::new(),
            left: MAX_TOTAL,
            kept: MAX_KEPT,
            visits: 0,
        }
    }

    /// Reads all compose files that were found, each once: what is included by another, or laid over
    /// another, is no project of its own.
    pub fn load(&mut self, found: &Found) -> Vec<Project> {
        self.within.clone_from(&found.within);
        let mut projects: Vec<Project> = Vec::new();
        let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
        let (groups, mut passed_over) = find::groups(found);
        for group in groups {
            let own = real(&group[0]);
            if reached.contains(&own) {
                continue;
            }
            let mut project = Project { file: group[0].clone(), ..Project::default() };
            self.visits = 0;
            for file in &group {
                let context = self.context(file, None);
                self.file(file, &context, &mut project, &mut Vec::new());
            }
            let context = self.context(&group[0], None);
            let document = self.parsed.get(&own).cloned().flatten();
            let name = name::of(document.as_deref(), &context);
            for service in project.services.values_mut() {
                service.project.clone_from(&name);
            }
            reached.extend(project.files.iter().filter(|file| **file != own).cloned());
            projects.push(project);
        }
        let read = |path: &Path| projects.iter().any(|project| project.files.contains(&real(path)));
        passed_over.retain(|(path, _)| !read(path));
        self.passed_over = passed_over;
        // Those that were read before the one that includes them.
        let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
        let mut kept: Vec<Project> = Vec::new();
        for project in projects.into_iter().rev() {
            let own = real(&project.file);
            if !reached.contains(&own) {
                reached.extend(project.files.iter().filter(|file| **file != own).cloned());
                kept.push(project);
            }
        }
        kept.reverse();
        let mut known = BTreeMap::new();
        for service in kept.iter_mut().flat_map(|project| project.services.values_mut()) {
            service.merged();
            self.env_files(service, &mut known);
        }
        kept
    }

    /// Adds what the files of a service's `env_file:` tell, each read once. Those that cannot be read
    /// tell nothing: often they are made on another machine.
    fn env_files(
        &mut self,
        service: &mut Service,
        known: &mut BTreeMap<PathBuf, BTreeMap<&'static str, Written>>,
    ) {
        for EnvFile { path, variables } in service.env_files.drain(..).rev() {
            let named = PathBuf::from(&*service.origin.file);
            if !self.is_within(&path, &named, service.origin.line) {
                continue;
            }
            let told = known.entry(real(&path)).or_insert_with(|| {
                let text = self.text(&path).unwrap_or_default();
                let values = env_file(&text, &variables);
                let context = Context {
                    file: path.display().to_string().into(),
                    folder: PathBuf::new(),
                    variables: Rc::default(),
                };
                let line = |name: &str| {
                    let is = |line: &str| {
                        let line = line.trim_start();
                        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
                        line.strip_prefix(name).is_some_and(|rest| rest.trim().starts_with('='))
                    };
                    text.lines().position(is).map_or(0, |at| at + 1)
                };
                let written = |name: &&'static str| {
                    let line = u32::try_from(line(name)).unwrap_or(0);
                    let mark = yaml::Mark { line, column: 1, source: 0 };
                    // Its variables are filled in; a dollar is a dollar.
                    let value = values.get(*name)?.replace('$', "$$");
                    Some((*name, context.written(&value, mark)))
                };
                READ.iter().filter_map(written).collect()
            });
            for (name, value) in &*told {
                service.environment.entry((*name).to_owned()).or_insert_with(|| value.clone());
            }
        }
    }

    /// The variables that hold in a file: those of the process, then those of `.env` beside it.
    fn context(&mut self, file: &Path, env: Option<&[PathBuf]>) -> Context {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let paths = env.map_or_else(|| vec![folder.join(".env")], <[PathBuf]>::to_vec);
        let variables = match self.variables.get(&paths) {
            Some(variables) => Rc::clone(variables),
            None => {
                let mut variables = Variables::new();
                for path in &paths {
                    if !self.is_within(path, file, 0) {
                        continue;
                    }
                    match self.text(path) {
                        Ok(text) => variables.extend(env_file(&text, self.environment)),
                        // Most folders have none.
                        Err(_) if env.is_none() && !path.exists() => {}
                        Err(why) => self.problem(path, 0, why),
                    }
                }
                let environment = self.environment.iter();
                variables.extend(environment.map(|(k, v)| (k.clone(), v.clone())));
                let variables = Rc::new(variables);
                self.variables.insert(paths, Rc::clone(&variables));
                variables
            }
        };
        Context { file: file.display().to_string().into(), folder, variables }
    }

    /// The text of a file, while there is not too much of all of them.
    fn text(&mut self, path: &Path) -> Result<String, String> {
        let text = self.within.read(path)?;
        match self.left.checked_sub(text.len()) {
            Some(left) => {
                self.left = left;
                Ok(text)
            }
            None => {
                let limit = MAX_TOTAL >> 20;
                Err(format!("all files together are larger than {limit} MiB: it is not read"))
            }
        }
    }

    /// Whether a file may be read that another one names. One that may not is reported.
    fn is_within(&mut self, path: &Path, file: &Path, line: u32) -> bool {
        let within = self.within.holds(path);
        if !within && self.outside.len() < MAX_PROBLEMS {
            let (file, path) = (file.to_owned(), path.to_owned());
            self.outside.insert(Outside { file, line, path });
        }
        within
    }

    /// What holds in the including file holds in the included one, too.
    fn merged(&mut self, inner: &Rc<Variables>, outer: &Rc<Variables>) -> Rc<Variables> {
        // Both are kept, so that what stands at these places goes on doing so.
        let places = [Rc::as_ptr(inner), Rc::as_ptr(outer)];
        let merged = self.merged.entry(places).or_insert_with(|| {
            if inner.keys().all(|name| outer.get(name) == inner.get(name)) {
                return Rc::clone(outer);
            }
            let mut variables = (**inner).clone();
            for (name, value) in &**outer {
                variables.entry(name.clone()).or_insert_with(|| value.clone());
            }
            Rc::new(variables)
        });
        Rc::clone(merged)
    }

    fn problem(&mut self, file: &Path, line: u32, message: impl Into<String>) {
        let problem = FileProblem { file: file.to_owned(), line, message: message.into() };
        if self.told.len() < MAX_PROBLEMS && self.told.insert(problem.clone()) {
            self.problems.push(problem);
        }
    }

    fn parse(&mut self, file: &Path) -> Option<Rc<Node>> {
        let key = real(file);
        if let Some(parsed) = self.parsed.get(&key) {
            return parsed.clone();
        }
        let mut length = 0;
        let parsed = match self.text(file) {
            Err(why) => {
                self.problem(file, 0, why);
                None
            }
            Ok(text) => match yaml::parse_all(&text) {
                Ok((document, duplicates)) => {
                    length = text.len();
                    // Told; the first value stands.
                    for duplicate in duplicates.into_iter().take(MAX_DUPLICATES) {
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
        if let Some(kept) = self.kept.checked_sub(length) {
            self.kept = kept;
            self.parsed.insert(key, parsed.clone());
        }
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
        if project.files.contains(&key) && !stack.is_empty() {
            return;
        }
        if stack.len() >= MAX_DEPTH {
            self.problem(file, 0, "it is not read: files include each other too deep");
            return;
        }
        if project.files.len() >= MAX_FILES {
            let why = format!("it includes more than {MAX_FILES} files: the rest is not read");
            self.problem(&project.file, 0, why);
            return;
        }
        let Some(document) = self.parse(file) else { return };
        project.files.insert(key.clone());
        stack.push(key);
        if let Some(listed) = document.get("services") {
            if listed.layer != Layer::Merge && stack.len() == 1 {
                project.services.clear();
            }
            for entry in listed.entries().iter().filter(|e| e.value.layer == Layer::Reset) {
                project.services.remove(&entry.key);
            }
        }
        if let Some(included) = document.get("include") {
            self.included(included, context, project, stack);
        }
        if services(&document).nth(MAX_SERVICES).is_some() {
            let why = format!("more than {MAX_SERVICES} services: the rest is not looked at");
            self.problem(file, 0, why);
        }
        for (name, mark, node) in services(&document).take(MAX_SERVICES) {
            let mut chain = Vec::new();
            let service = Service::read(name, mark, node, context);
            let service = self.extended(service, file, context, &mut chain);
            let service = match project.services.get(name) {
                Some(below) if node.layer == Layer::Merge => service.over(below),
                _ => service,
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
                self.visits += 1;
                if self.visits > MAX_VISITS {
                    let why = format!("more than {MAX_VISITS} includes: the rest is not looked at");
                    return self.problem(&project.file, 0, why);
                }
                let Some(path) = self.path(written, context) else { continue };
                let own = (!env.is_empty()).then_some(env.as_slice());
                let mut inner = self.context(&path, own);
                inner.variables = self.merged(&inner.variables, &context.variables);
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
        let path = context.folder.join(filled.text);
        self.is_within(&path, &file, written.origin.line).then_some(path)
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
pub(crate) fn services(document: &Node) -> impl Iterator<Item = (&str, yaml::Mark, &Rc<Node>)> {
    let listed = document.get("services").map(|node| match node.layer {
        Layer::Reset => &[],
        _ => node.entries(),
    });
    let old = |entry: &&yaml::Entry| {
        let node = &entry.value;
        node.get("image").is_some() || node.get("build").is_some()
    };
    let top = listed.is_none().then(|| document.entries().iter().filter(old));
    let all = listed.unwrap_or_default().iter().chain(top.into_iter().flatten());
    // A service without anything in it is one that an override takes away.
    let all = all.filter(|entry| {
        matches!(entry.value.value, Value::Mapping(_)) && entry.value.layer != Layer::Reset
    });
    all.map(|entry| (entry.key.as_str(), entry.key_mark, &entry.value))
}

#[cfg(test)]
mod tests;
