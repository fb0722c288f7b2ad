//! Names → definitions: the scope of every file, its imports, and the prelude. Does not know
//! types or values, only what a name stands for.

use std::collections::{BTreeMap, BTreeSet};

use super::ast::{self, Item, ItemKind, Name, Path, Use, UseRoot};
use super::diagnostic::Diagnostic;
use super::errors::{nearest::nearest, semantics as say};
use super::source::{FileId, Sources, Span};
use super::stdlib::PRELUDE;
use super::types::DefId;

/// A `param`, `let` or `stage` of a compilation, as a dense index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingId(pub u32);

/// An item with the file it stands in.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'a> {
    pub file: FileId,
    pub name: &'a Name,
    pub item: &'a Item,
}

/// What a name among values stands for.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    Binding(BindingId),
    /// An imported file; `None` where it was not found, which is already reported.
    Module(Option<FileId>),
}

/// The names of one file, in the three spaces that may hold the same name.
#[derive(Debug, Default)]
struct Scope {
    values: BTreeMap<String, (Meaning, Span)>,
    callables: BTreeMap<String, (DefId, Span)>,
    types: BTreeMap<String, (DefId, Span)>,
}

/// Everything that is declared anywhere, and what names mean where.
#[derive(Debug)]
pub struct Program<'a> {
    pub sources: &'a Sources,
    pub trees: &'a [ast::File],
    pub bindings: Vec<Declared<'a>>,
    /// Every `fn`, `record` and `type`.
    pub definitions: Vec<Declared<'a>>,
    scopes: Vec<Scope>,
    prelude: Scope,
    /// The files whose declarations the prelude takes in.
    prelude_files: Vec<FileId>,
}

/// What a path among values begins with, and how many of its names that takes.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub meaning: Meaning,
    pub taken: usize,
}

impl<'a> Program<'a> {
    /// Collects the declarations of all files; `trees` stand in the order of `sources`.
    pub fn new(sources: &'a Sources, trees: &'a [ast::File]) -> (Program<'a>, Vec<Diagnostic>) {
        let mut program = Program {
            sources,
            trees,
            bindings: Vec::new(),
            definitions: Vec::new(),
            scopes: Vec::new(),
            prelude: Scope::default(),
            prelude_files: Vec::new(),
        };
        let mut faults = Vec::new();
        for (file, tree) in trees.iter().enumerate() {
            let scope = program.declare(FileId(file as u32), tree, &mut faults);
            program.scopes.push(scope);
        }
        program.open_prelude();
        (program, faults)
    }

    fn declare(
        &mut self,
        file: FileId,
        tree: &'a ast::File,
        faults: &mut Vec<Diagnostic>,
    ) -> Scope {
        let mut scope = Scope::default();
        for item in &tree.items {
            let next_def = DefId(self.definitions.len() as u32);
            let next_binding = BindingId(self.bindings.len() as u32);
            let (name, fresh) = match &item.kind {
                ItemKind::Use(import) => {
                    let module = self.module(file, import, faults);
                    let name = import.alias.as_ref().or(import.parts.last());
                    let Some(name) = name else { continue };
                    add(&mut scope.values, name, Meaning::Module(module), faults);
                    continue;
                }
                ItemKind::Param(ast::Param { name, .. })
                | ItemKind::Let(ast::Let { name, .. })
                | ItemKind::Stage(ast::Stage { name, .. }) => {
                    let meaning = Meaning::Binding(next_binding);
                    add(&mut scope.values, name, meaning, faults);
                    self.bindings.push(Declared { file, name, item });
                    continue;
                }
                ItemKind::Fn(function) => {
                    let fresh = add(&mut scope.callables, &function.name, next_def, faults);
                    (&function.name, fresh)
                }
                ItemKind::Record(record) => {
                    let fresh = add(&mut scope.callables, &record.name, next_def, faults);
                    if fresh {
                        add(&mut scope.types, &record.name, next_def, faults);
                    }
                    (&record.name, fresh)
                }
                ItemKind::Alias(alias) => {
                    (&alias.name, add(&mut scope.types, &alias.name, next_def, faults))
                }
                ItemKind::Output(_) | ItemKind::Error => continue,
            };
            if fresh {
                self.definitions.push(Declared { file, name, item });
            }
        }
        scope
    }

    fn module(&self, file: FileId, import: &Use, faults: &mut Vec<Diagnostic>) -> Option<FileId> {
        let (first, last) = (import.parts.first()?, import.parts.last()?);
        let span = first.span.to(last.span);
        let Some(path) = module_path(import, &self.sources.get(file).path) else {
            faults.push(say::outside_repository(span, &self.sources.get(file).path));
            return None;
        };
        let found = self.sources.find(&path);
        if found.is_none() {
            faults.push(match import.root {
                UseRoot::Library => {
                    let known = self.sources.iter().map(|(_, source)| source.path.as_str());
                    let known: Vec<&str> =
                        known.filter_map(|path| path.strip_suffix(".recipe")).collect();
                    let wanted = path.trim_end_matches(".recipe");
                    let library = known.into_iter().filter(|path| path.starts_with("std/"));
                    say::unknown_module(span, wanted, nearest(wanted, library))
                }
                _ => say::missing_module(span, &path),
            });
        }
        found
    }

    fn open_prelude(&mut self) {
        let Some(prelude) = self.sources.find(PRELUDE) else { return };
        let opened = |(meaning, _): &(Meaning, Span)| match meaning {
            Meaning::Module(module) => *module,
            Meaning::Binding(_) => None,
        };
        let scope = &self.scopes[prelude.0 as usize];
        self.prelude_files = scope.values.values().filter_map(opened).collect();
        for file in self.prelude_files.clone() {
            let scope = &self.scopes[file.0 as usize];
            let bindings = scope
                .values
                .iter()
                .filter(|(_, (meaning, _))| matches!(meaning, Meaning::Binding(_)));
            self.prelude.values.extend(bindings.map(|(name, at)| (name.clone(), *at)));
            let callables = scope.callables.iter().map(|(name, at)| (name.clone(), *at));
            self.prelude.callables.extend(callables);
            let types = scope.types.iter().map(|(name, at)| (name.clone(), *at));
            self.prelude.types.extend(types);
        }
    }

    fn scope(&self, file: FileId) -> &Scope {
        &self.scopes[file.0 as usize]
    }

    pub fn binding(&self, id: BindingId) -> Declared<'a> {
        self.bindings[id.0 as usize]
    }

    pub fn definition(&self, id: DefId) -> Declared<'a> {
        self.definitions[id.0 as usize]
    }

    /// Whether a file's declarations are in scope everywhere.
    pub fn in_prelude(&self, file: FileId) -> bool {
        self.prelude_files.contains(&file)
    }

    /// Whether a file belongs to the library.
    pub fn in_library(&self, file: FileId) -> bool {
        self.sources.get(file).path.starts_with("std/")
    }

    /// What a path among values begins with; modules are looked through.
    pub fn head(&self, file: FileId, path: &Path) -> Result<Head, Diagnostic> {
        let (module, taken) = self.module_prefix(file, path, true);
        let Some(name) = path.names.get(taken) else {
            return Err(say::module_as_value(path.span, &path.text()));
        };
        let module = match module {
            Within::Missing => return Ok(Head { meaning: Meaning::Module(None), taken }),
            Within::Module(module) => module,
            Within::Here => {
                let found = self.value(file, &name.text);
                let found = found.ok_or_else(|| self.unknown_value(file, name))?;
                return Ok(Head { meaning: found, taken: 1 });
            }
        };
        match self.scope(module).values.get(&name.text) {
            Some((meaning @ Meaning::Binding(_), _)) => {
                Ok(Head { meaning: *meaning, taken: taken + 1 })
            }
            _ => Err(self.unknown_in_module(module, name, self.values_of(module))),
        }
    }

    fn value(&self, file: FileId, name: &str) -> Option<Meaning> {
        let local = self.scope(file).values.get(name);
        local.or_else(|| self.prelude.values.get(name)).map(|(meaning, _)| *meaning)
    }

    /// Where a file declares or imports a value of a name.
    pub fn declared_here(&self, file: FileId, name: &str) -> Option<Span> {
        self.scope(file).values.get(name).map(|(_, span)| *span)
    }

    /// Where a file imports a module of a name.
    pub fn module_named(&self, file: FileId, name: &str) -> Option<Span> {
        let (meaning, span) = self.scope(file).values.get(name)?;
        matches!(meaning, Meaning::Module(_)).then_some(*span)
    }

    /// The value a misspelt name most likely means.
    pub fn nearest_value(&self, file: FileId, name: &str) -> Option<(&str, Meaning)> {
        let values = &self.scope(file).values;
        let near = nearest(name, values.keys().map(String::as_str))?;
        Some((near, values[near].0))
    }

    fn unknown_value(&self, file: FileId, name: &Name) -> Diagnostic {
        let near = self.nearest_value(file, &name.text).map(|(near, _)| near);
        let callable = self.scope(file).callables.contains_key(&name.text)
            || self.prelude.callables.contains_key(&name.text);
        say::unknown_name(name.span, &name.text, near, callable)
    }

    fn values_of(&self, module: FileId) -> Vec<&str> {
        let values = self.scope(module).values.iter();
        let bindings = values.filter(|(_, (meaning, _))| matches!(meaning, Meaning::Binding(_)));
        bindings.map(|(name, _)| name.as_str()).collect()
    }

    fn unknown_in_module(&self, module: FileId, name: &Name, known: Vec<&str>) -> Diagnostic {
        let near = nearest(&name.text, known);
        say::unknown_in_module(name.span, &name.text, &self.sources.get(module).path, near)
    }

    /// The `fn` or `record` that a path before `{` means; `Ok(None)` where its module is missing.
    pub fn callable(&self, file: FileId, path: &Path) -> Result<Option<DefId>, Diagnostic> {
        self.definition_named(file, path, |scope| &scope.callables, "stage kind or record")
    }

    /// The `record` or `type` that a path in a type means; `Ok(None)` where its module is missing.
    pub fn type_named(&self, file: FileId, path: &Path) -> Result<Option<DefId>, Diagnostic> {
        self.definition_named(file, path, |scope| &scope.types, "type")
    }

    fn definition_named(
        &self,
        file: FileId,
        path: &Path,
        space: impl Fn(&Scope) -> &BTreeMap<String, (DefId, Span)>,
        what: &str,
    ) -> Result<Option<DefId>, Diagnostic> {
        let (module, taken) = self.module_prefix(file, path, path.names.len() > 1);
        let name = &path.names[taken.min(path.names.len() - 1)];
        let known = |scope| space(scope).keys().map(String::as_str).collect::<Vec<_>>();
        match module {
            Within::Missing => Ok(None),
            Within::Module(module) if taken + 1 == path.names.len() => {
                let found = space(self.scope(module)).get(&name.text).map(|(id, _)| *id);
                let unknown = || self.unknown_in_module(module, name, known(self.scope(module)));
                found.ok_or_else(unknown).map(Some)
            }
            Within::Here if path.names.len() == 1 => {
                let local = space(self.scope(file)).get(&name.text);
                let found = local.or_else(|| space(&self.prelude).get(&name.text));
                let names = [known(self.scope(file)), known(&self.prelude)].concat();
                let unknown = || {
                    say::unknown_definition(name.span, &name.text, what, {
                        nearest(&name.text, names)
                    })
                };
                found.map(|(id, _)| Some(*id)).ok_or_else(unknown)
            }
            Within::Here => {
                let modules = self.scope(file).values.iter();
                let modules = modules.filter(|(_, (it, _))| matches!(it, Meaning::Module(_)));
                let near = nearest(&name.text, modules.map(|(name, _)| name.as_str()));
                Err(say::unknown_definition(name.span, &name.text, "module", near))
            }
            Within::Module(_) => Err(say::unknown_definition(path.span, &path.text(), what, None)),
        }
    }

    fn module_prefix(&self, file: FileId, path: &Path, look: bool) -> (Within, usize) {
        match self.scope(file).values.get(&path.names[0].text) {
            Some((Meaning::Module(None), _)) if look => (Within::Missing, 1),
            Some((Meaning::Module(Some(module)), _)) if look => (Within::Module(*module), 1),
            _ => (Within::Here, 0),
        }
    }

    /// Every file that a root reaches by `use`, itself and the prelude included.
    pub fn reached(&self, root: FileId) -> BTreeSet<FileId> {
        let mut open: Vec<FileId> = self.sources.find(PRELUDE).into_iter().chain([root]).collect();
        let mut reached = BTreeSet::new();
        while let Some(file) = open.pop() {
            if reached.insert(file) {
                let meanings = self.scope(file).values.values();
                open.extend(meanings.filter_map(|(meaning, _)| match meaning {
                    Meaning::Module(module) => *module,
                    Meaning::Binding(_) => None,
                }));
            }
        }
        reached
    }
}

/// Where the rest of a path is looked up.
enum Within {
    Here,
    Module(FileId),
    Missing,
}

/// Adds a name unless it is taken; both places are then named.
fn add<T>(
    space: &mut BTreeMap<String, (T, Span)>,
    name: &Name,
    meaning: T,
    faults: &mut Vec<Diagnostic>,
) -> bool {
    if let Some((_, first)) = space.get(&name.text) {
        faults.push(say::name_taken(name.span, &name.text, *first));
        return false;
    }
    space.insert(name.text.clone(), (meaning, name.span));
    true
}

/// The paths of the files beside this one that it imports, for the door that loads them.
pub fn imports(file: &ast::File, path: &str) -> Vec<String> {
    let import = |item: &Item| match &item.kind {
        ItemKind::Use(import) if import.root != UseRoot::Library => module_path(import, path),
        _ => None,
    };
    file.items.iter().filter_map(import).collect()
}

/// The folder of a file, as its own path spells it.
pub fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The path an import means; `None` where it leaves the folders that the path itself names.
fn module_path(import: &Use, from: &str) -> Option<String> {
    let parts = import.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join("/");
    let folder = folder(from);
    let base = match import.root {
        UseRoot::Library => "",
        UseRoot::Here => folder,
        UseRoot::Up if folder.is_empty() || folder == ".." || folder.ends_with("/..") => {
            return None;
        }
        UseRoot::Up => folder.rsplit_once('/').map_or("", |(above, _)| above),
    };
    let absolute_top = base.is_empty() && import.root != UseRoot::Library && from.starts_with('/');
    match (base.is_empty(), absolute_top) {
        (true, false) => Some(format!("{parts}.recipe")),
        (true, true) => Some(format!("/{parts}.recipe")),
        (false, _) => Some(format!("{base}/{parts}.recipe")),
    }
}
