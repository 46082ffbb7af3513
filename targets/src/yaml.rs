//! The one door to the YAML crate: text becomes a tree of nodes that know their place.
//!
//! A scalar keeps its text as written (an unquoted `0123` stays `0123`), anchors, aliases and merge
//! keys are resolved, duplicate keys are refused. Bounds: [`MAX_DEPTH`] levels and [`MAX_NODES`]
//! nodes with aliases counted at their full size, so that no document costs more than it looks.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Tag};

/// How deep collections may nest.
pub const MAX_DEPTH: usize = 64;
/// How many nodes a document may have once its aliases are expanded.
pub const MAX_NODES: usize = 5_000_000;
/// Duplicate keys that are told.
const MAX_DUPLICATES: usize = 1_000;
/// Maps with fewer entries are looked through, larger ones have an index.
const SMALL_MAP: usize = 32;

/// A place in a text: line and column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Which text it is, where several are read into one tree; the reader gives the numbers.
    pub source: u32,
}

/// A node and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the node begins.
    pub mark: Mark,
    /// What it holds.
    pub value: Value,
    /// The text that it was read from, where a text stood that may be meant as it is (the value of a
    /// variable, the content of a file).
    pub written: Option<Rc<str>>,
    /// What it does to a file that it is laid over.
    pub layer: Layer,
}

/// What a node does to the one below it, by the tags of Compose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// They are merged.
    #[default]
    Merge,
    /// `!reset`: it takes away what is below, and says nothing itself.
    Reset,
    /// `!override`: it stands in place of what is below.
    Override,
}

impl Layer {
    fn of(tag: Option<&Tag>) -> Self {
        let Some(tag) = tag.filter(|tag| tag.handle() == "!") else { return Layer::Merge };
        match tag.suffix() {
            "reset" => Layer::Reset,
            "override" => Layer::Override,
            _ => Layer::Merge,
        }
    }
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: empty, `~` or `null`.
    Null,
    /// Something, and nobody can say now what it is.
    Unknown,
    /// Text as written. `plain` is set when it was not quoted, so that `8080` may be a number.
    Scalar {
        /// The text.
        text: String,
        /// Written without quotes (a number or a boolean may be meant).
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// A map in the order in which it was written.
    Mapping(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub key_mark: Mark,
    /// The value.
    pub value: Rc<Node>,
}

impl Node {
    /// The value of a key, when this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Rc<Node>> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a mapping; none for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// A node that was read from YAML.
    #[must_use]
    pub fn new(mark: Mark, value: Value) -> Self {
        Self { mark, value, written: None, layer: Layer::Merge }
    }

    /// The text of a scalar, or what was written in place of one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => self.written.as_deref(),
        }
    }

    /// This tree with another one laid over it: maps are merged, everything else is replaced, also
    /// by nothing.
    #[must_use]
    pub fn overlaid(self: &Rc<Self>, over: &Rc<Self>) -> Rc<Self> {
        let (Value::Mapping(below), Value::Mapping(above)) = (&self.value, &over.value) else {
            return Rc::clone(over);
        };
        let mut entries: Vec<Entry> = below
            .iter()
            .map(|entry| match above.iter().find(|over| over.key == entry.key) {
                Some(over) => {
                    // A map that only gains something still stands where it was written first.
                    let merged = matches!(
                        (&entry.value.value, &over.value.value),
                        (Value::Mapping(_), Value::Mapping(_))
                    );
                    let named = if merged { entry } else { over };
                    Entry { value: entry.value.overlaid(&over.value), ..named.clone() }
                }
                None => entry.clone(),
            })
            .collect();
        entries.extend(above.iter().filter(|entry| self.get(&entry.key).is_none()).cloned());
        Rc::new(Self::new(self.mark, Value::Mapping(entries)))
    }

    /// Whether the node holds nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What kind of node this is, in the words of an error message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Unknown => "an unknown value",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
        }
    }
}

/// Text that is not YAML, or not YAML that is accepted here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {message}", mark.line, mark.column)]
pub struct YamlError {
    /// Where.
    pub mark: Mark,
    /// What is wrong.
    pub message: String,
}

struct Open {
    mark: Mark,
    anchor: usize,
    size: usize,
    layer: Layer,
    kind: Collection,
}

enum Collection {
    Sequence(Vec<Rc<Node>>),
    Mapping { entries: Vec<Entry>, keys: Keys, merges: Vec<Rc<Node>>, key: Option<(String, Mark)> },
}

/// The keys of a map, once there are many of them.
#[derive(Default)]
struct Keys(HashSet<String>);

impl Keys {
    fn has(&mut self, entries: &[Entry], key: &str) -> bool {
        if entries.len() < SMALL_MAP {
            return entries.iter().any(|entry| entry.key == key);
        }
        let known = self.0.len();
        self.0.extend(entries[known..].iter().map(|entry| entry.key.clone()));
        self.0.contains(key)
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, (Rc<Node>, usize)>,
    root: Option<Rc<Node>>,
    nodes: usize,
    duplicates: Vec<YamlError>,
}

/// Reads the first document of a text; an empty text is [`Value::Null`].
///
/// # Errors
/// A syntax error, a duplicate key, a second document, or a document beyond the bounds.
pub fn parse(text: &str) -> Result<Rc<Node>, YamlError> {
    match parse_all(text)? {
        (node, duplicates) if duplicates.is_empty() => Ok(node),
        (_, mut duplicates) => Err(duplicates.swap_remove(0)),
    }
}

/// As [`parse`], but a duplicate key does not hide what else is wrong: the first value stands, and
/// every duplicate is in the list.
///
/// # Errors
/// As [`parse`], but for duplicate keys.
pub fn parse_all(text: &str) -> Result<(Rc<Node>, Vec<YamlError>), YamlError> {
    parse_source(text, 0)
}

/// As [`parse_all`]; every mark says that it is in the text of this number.
///
/// # Errors
/// As [`parse_all`].
pub fn parse_source(text: &str, source: u32) -> Result<(Rc<Node>, Vec<YamlError>), YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            mark: mark_of(error.marker().line(), error.marker().col(), source),
            message: error.info().to_owned(),
        })?;
        let mark = mark_of(span.start.line(), span.start.col(), source);
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(fail(
                        mark,
                        "a second document (`---`) is not read; keep one per file",
                    ));
                }
            }
            Event::Alias(id) => builder.alias(id, mark)?,
            Event::Scalar(text, style, anchor, tag) => {
                builder.put(scalar(text, style, tag.as_deref(), mark), anchor, 1)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                let layer = Layer::of(tag.as_deref());
                builder.push(mark, anchor, layer, Collection::Sequence(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let layer = Layer::of(tag.as_deref());
                let (entries, merges) = (Vec::new(), Vec::new());
                let kind =
                    Collection::Mapping { entries, keys: Keys::default(), merges, key: None };
                builder.push(mark, anchor, layer, kind)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close()?,
            _ => {}
        }
    }
    let start = Mark { line: 1, column: 1, source };
    let root = builder.root.unwrap_or_else(|| Rc::new(Node::new(start, Value::Null)));
    Ok((root, builder.duplicates))
}

fn mark_of(line: usize, column: usize, source: u32) -> Mark {
    let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { line: clamp(line), column: clamp(column).saturating_add(1), source }
}

fn fail(mark: Mark, message: impl Into<String>) -> YamlError {
    YamlError { mark, message: message.into() }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, mark: Mark) -> Node {
    let layer = Layer::of(tag);
    let plain = style == ScalarStyle::Plain && (tag.is_none() || layer != Layer::Merge);
    let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
    let value = if null { Value::Null } else { Value::Scalar { text: text.into_owned(), plain } };
    Node { layer, ..Node::new(mark, value) }
}

impl Builder {
    fn count(&mut self, mark: Mark, size: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes > MAX_NODES {
            return Err(fail(mark, format!("more than {MAX_NODES} nodes, with aliases expanded")));
        }
        Ok(())
    }

    fn push(
        &mut self,
        mark: Mark,
        anchor: usize,
        layer: Layer,
        kind: Collection,
    ) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(fail(mark, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.count(mark, 1)?;
        self.open.push(Open { mark, anchor, size: 1, layer, kind });
        Ok(())
    }

    fn alias(&mut self, id: usize, mark: Mark) -> Result<(), YamlError> {
        let Some((node, size)) = self.anchors.get(&id).cloned() else {
            return Err(fail(mark, "an alias inside of what it names"));
        };
        self.count(mark, size)?;
        self.attach(node, mark, size)
    }

    fn put(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), YamlError> {
        let mark = node.mark;
        self.count(mark, 1)?;
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), size));
        }
        self.attach(node, mark, size)
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(Open { mark, anchor, size, layer, kind }) = self.open.pop() else { return Ok(()) };
        let value = match kind {
            Collection::Sequence(items) => Value::Sequence(items),
            Collection::Mapping { entries, keys, merges, .. } => {
                Value::Mapping(merge(entries, keys, &merges))
            }
        };
        let node = Rc::new(Node { layer, ..Node::new(mark, value) });
        if anchor > 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), size));
        }
        self.attach(node, mark, size)
    }

    /// Hands a finished node to the collection that is open, or makes it the root.
    fn attach(&mut self, node: Rc<Node>, mark: Mark, size: usize) -> Result<(), YamlError> {
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.size = parent.size.saturating_add(size);
        match &mut parent.kind {
            Collection::Sequence(items) => items.push(node),
            Collection::Mapping { entries, keys, merges, key } => match key.take() {
                None => {
                    let text = match &node.value {
                        Value::Scalar { text, .. } => text.clone(),
                        Value::Null => String::new(),
                        _ => return Err(fail(mark, "a key must be a single value")),
                    };
                    let merging =
                        matches!(&node.value, Value::Scalar { plain: true, .. }) && text == "<<";
                    if !merging
                        && self.duplicates.len() < MAX_DUPLICATES
                        && keys.has(entries, &text)
                        && let Some(first) = entries.iter().find(|e| e.key == text)
                    {
                        let line = first.key_mark.line;
                        let message =
                            format!("the key {text:?} is here twice, first in line {line}");
                        self.duplicates.push(fail(mark, message));
                    }
                    *key = Some((text, mark));
                }
                Some((text, key_mark)) if text == "<<" => match &node.value {
                    Value::Mapping(_) => merges.push(node),
                    Value::Sequence(items)
                        if items.iter().all(|i| matches!(i.value, Value::Mapping(_))) =>
                    {
                        merges.extend(items.iter().cloned());
                    }
                    _ => return Err(fail(key_mark, "`<<` merges a map or a list of maps")),
                },
                // The first of two stands.
                Some((key, _)) if keys.has(entries, &key) => {}
                Some((key, key_mark)) => entries.push(Entry { key, key_mark, value: node }),
            },
        }
        Ok(())
    }
}

/// Adds the keys of merged maps that are not written out; the first merged map wins.
fn merge(mut entries: Vec<Entry>, mut keys: Keys, merges: &[Rc<Node>]) -> Vec<Entry> {
    for source in merges {
        for entry in source.entries() {
            if !keys.has(&entries, &entry.key) {
                entries.push(entry.clone());
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_text_and_place() {
        let node = parse("a: 0123\nb:\n  - 'yes'\n  - yes\nc: ~\n").expect("valid");
        let a = node.get("a").expect("a");
        assert_eq!(a.value, Value::Scalar { text: "0123".into(), plain: true });
        assert_eq!(a.mark, Mark { line: 1, column: 4, source: 0 });
        let Value::Sequence(items) = &node.get("b").expect("b").value else { panic!("a list") };
        assert_eq!(items[0].value, Value::Scalar { text: "yes".into(), plain: false });
        assert_eq!(items[1].mark, Mark { line: 4, column: 5, source: 0 });
        assert!(node.get("c").expect("c").is_null());
        assert!(parse("").expect("empty").is_null());
    }

    #[test]
    fn merge_keys_and_aliases() {
        let text = "x: &d {p: 1, q: 2}\ny:\n  <<: *d\n  q: 3\nz: *d\n";
        let node = parse(text).expect("valid");
        let y = node.get("y").expect("y");
        assert_eq!(y.get("p").and_then(|n| n.text()), Some("1"));
        assert_eq!(y.get("q").and_then(|n| n.text()), Some("3"));
        assert_eq!(node.get("z").and_then(|z| z.get("q")).and_then(|n| n.text()), Some("2"));
    }

    #[test]
    fn tags_of_compose() {
        let text = "a: !reset null\nb: !reset {}\nc: !override [x]\nd: !override x\ne: !!str x\nf: {g: 1}\n";
        let node = parse(text).expect("valid");
        let layer = |key: &str| node.get(key).expect(key).layer;
        assert_eq!((layer("a"), layer("b")), (Layer::Reset, Layer::Reset));
        assert_eq!((layer("c"), layer("d")), (Layer::Override, Layer::Override));
        assert_eq!((layer("e"), layer("f")), (Layer::Merge, Layer::Merge));
        assert!(node.get("a").expect("a").is_null());
        assert_eq!(node.get("d").and_then(|d| d.text()), Some("x"));
    }

    #[test]
    fn errors_have_places() {
        for (text, line, part) in [
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: [1\nb: 2\n", 2, ""),
            ("a: 1\n---\nb: 2\n", 2, "second document"),
            ("%HOST%:\n", 2, ""),
            ("? [a]\n: b\n", 1, "single value"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.message.contains(part), "{text}: {error}");
            assert_eq!(error.mark.line, line, "{text}: {error}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let deep = "[".repeat(100_000);
        let error = parse(&deep).expect_err("deep");
        assert!(
            error.message.contains("recursion limit") || error.message.contains("nested deeper"),
            "{error}"
        );
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let refs = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        assert!(parse(&bomb).expect_err("bomb").message.contains("nodes"));
    }
}
