//! Shards of tokens as stages make them: the same bytes and rows whatever the threads, found again
//! after a stop, made anew where they are not whole.

use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use llamake::train::data::batch::Rows;
use llamake::train::data::chat::{ChatFormat, Template};
use llamake::train::data::pack::{
    DocumentRows, ExampleRows, Packing, Row, pack_documents, pack_examples,
};
use llamake::train::data::rows::{Chat, Message, Text, Writer};
use llamake::train::data::shard::Shard;
use llamake::train::data::tokenise::{Part, dialogues, documents};
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::data::vocabulary::{Manner, Vocabulary};
use llamake::train::kernels::rng::Stream;
use llamake::train::progress::{Attempt, Context, Failure};

use super::fixtures::{End, Heard};
use super::{file, told};

/// Texts, dialogues and a tokenizer in a temporary folder.
struct World {
    root: tempfile::TempDir,
    tokenizer: Tokenizer,
    texts: Vec<String>,
    chats: Vec<Chat>,
}

const WORDS: [&str; 8] = ["heron", "bridge", "river", "the", "old", "went", "by", "1987"];

impl World {
    fn new() -> World {
        let mut walk = Stream::new(1, "world").walk();
        let mut sentence = |longest: usize| {
            let count = 1 + walk.below(longest);
            (0..count).map(|_| *walk.pick(&WORDS)).collect::<Vec<_>>().join(" ")
        };
        let texts: Vec<String> = (0..20_000).map(|_| sentence(60)).collect();
        let chat = |question, answer| {
            Chat::new(vec![Message::new("user", question), Message::new("assistant", answer)])
        };
        let chats: Vec<Chat> = (0..500).map(|_| chat(sentence(8), sentence(8))).collect();
        let vocabulary = Vocabulary {
            size: 300,
            manner: Manner::SentencePiece,
            split_digits: true,
            byte_fallback: true,
            bos: "<s>".into(),
            eos: "</s>".into(),
            unknown: "<unk>".into(),
        };
        let counts = vocabulary.count_words(&texts[..200], 2);
        let tokenizer = vocabulary.train(&counts, 2).unwrap();
        let root = tempfile::tempdir().unwrap();
        let mut out = Writer::create(&root.path().join("texts")).unwrap();
        texts.iter().for_each(|text| out.write(&Text { text: text.clone() }).unwrap());
        out.finish().unwrap();
        let mut out = Writer::create(&root.path().join("chats")).unwrap();
        chats.iter().for_each(|chat| out.write(chat).unwrap());
        out.finish().unwrap();
        World { root, tokenizer, texts, chats }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The shard of the texts, kept in the folder `attempt`.
    fn documents(
        &self,
        attempt: Option<&str>,
        threads: usize,
        heard: &mut Heard,
    ) -> Result<Shard, Failure> {
        let path = self.at("texts");
        self.shard(attempt, threads, heard, &[&path])
    }

    fn shard(
        &self,
        attempt: Option<&str>,
        threads: usize,
        heard: &mut Heard,
        paths: &[&PathBuf],
    ) -> Result<Shard, Failure> {
        let attempt = attempt.map(|name| Attempt { folder: self.at(name), every: Duration::ZERO });
        let out = self.root.path().into();
        let mut context = Context { attempt, ..Context::new(threads, out, heard) };
        documents(Part { paths, number: 0 }, &self.tokenizer, &mut context)
    }

    fn dialogues(&self, threads: usize, longest: usize) -> Result<Shard, Failure> {
        let path = self.at("chats");
        let mut heard = Heard::default();
        let mut context = Context::new(threads, self.root.path().into(), &mut heard);
        let part = Part { paths: &[&path], number: 0 };
        dialogues(part, &self.tokenizer, &template(), longest, &mut context)
    }
}

fn template() -> Template {
    Template {
        name: "plain".into(),
        jinja: "{% for turn in messages %}{% if turn.role == 'user' %}{{ bos_token + turn.content \
                + ':' }}{% else %}{{ ' ' + turn.content + eos_token }}{% endif %}{% endfor %}"
            .into(),
        bos: "<s>".into(),
        eos: "</s>".into(),
        forbidden: vec![],
    }
}

fn all(rows: &dyn Rows) -> Vec<Row> {
    let made: Vec<Row> = (0..rows.len()).map(|at| rows.row(at)).collect();
    for (at, row) in made.iter().enumerate() {
        assert_eq!(rows.tokens(at), row.tokens.len());
    }
    made
}

#[test]
fn rows_of_a_shard_are_those_packed_in_memory() {
    let world = World::new();
    let encoded = world.tokenizer.encode_documents(&world.texts, 2);
    for context in [1, 7, 64, 10_000_000] {
        let shard = world.documents(None, 2, &mut Heard::default()).unwrap();
        assert_eq!(shard.tokens(), encoded.iter().map(Vec::len).sum::<usize>());
        let rows = all(&DocumentRows::new(shard, context));
        assert!(rows == pack_documents(&encoded, context), "{context}");
    }
    let format = ChatFormat::new(&template()).unwrap();
    let numbered = (1..).zip(&world.chats);
    let examples =
        numbered.map(|(row, chat)| format.example(&world.tokenizer, row, &chat.messages));
    let examples = examples.collect::<Result<Vec<_>, Failure>>().unwrap();
    for packing in [Packing::Isolated, Packing::Wrapped, Packing::Off] {
        let shard = world.dialogues(2, 100).unwrap();
        let rows = all(&ExampleRows::new(shard, 100, packing));
        assert!(rows == pack_examples(&examples, 100, packing).unwrap(), "{packing:?}");
    }
    let shard = [
        world.dialogues(3, 9).unwrap_err(),
        pack_examples(&examples, 9, Packing::Off).unwrap_err(),
    ];
    let [shard, memory] = shard.map(|failure| told(failure, world.root.path()));
    assert!(shard == memory && shard.contains("no answer is ever cut"), "{shard}");
}

#[test]
fn threads_leave_no_trace_in_the_bytes() {
    let world = World::new();
    let bytes = |threads: usize| {
        let attempt = format!("attempt of {threads}");
        world.documents(Some(&attempt), threads, &mut Heard::default()).unwrap();
        std::fs::read(world.at(&attempt).join("shard-0")).unwrap()
    };
    let one = bytes(1);
    assert!((2..=5).all(|threads| bytes(threads) == one));
}

/// Texts of several files are one stream; a file's faulty row is named as it stands in its file.
#[test]
fn files_follow_one_another() {
    let world = World::new();
    let texts = world.at("texts");
    let mut heard = Heard::default();
    let shard = world.shard(None, 2, &mut heard, &[&texts, &texts]).unwrap();
    let half = shard.tokens() / 2;
    assert_eq!(shard.read(0..half), shard.read(half..2 * half));
    let faulty = file(world.root.path(), "faulty", "{\"text\":\"a\"}\n{\"text\":7}\n");
    let failure = world.shard(Some("attempt"), 3, &mut heard, &[&texts, &faulty]).unwrap_err();
    let said = told(failure, world.root.path());
    assert!(said.starts_with("`faulty` line 2 is not a row that can be read"), "{said}");
    let left = std::fs::read_dir(world.at("attempt")).unwrap().count();
    assert_eq!(left, 0, "no part of a shard is left");
}

#[test]
fn a_shard_is_found_again_and_made_anew_where_it_is_not_whole() {
    let world = World::new();
    let made = |heard: &mut Heard| world.documents(Some("attempt"), 2, heard).unwrap();
    let mut heard = Heard::default();
    made(&mut heard);
    let path = world.at("attempt/shard-0");
    let whole = std::fs::read(&path).unwrap();
    let size = std::fs::metadata(world.at("texts")).unwrap().len();
    assert!(heard.reports > 1 && size > 1 << 19, "several batches");

    let mut again = Heard::default();
    made(&mut again);
    assert_eq!((again.reports, again.said.len()), (0, 0), "nothing was tokenised again");

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let other = [&whole[..20], &[0; 28], &whole[48..]].concat();
    for (bytes, why) in [
        (&whole[..whole.len() / 2], "it is cut off"),
        (&[], "it is cut off"),
        (&flipped, "its checksum does not fit"),
        (&other, "it was made from something else"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let mut heard = Heard::default();
        made(&mut heard);
        let said = heard.said.join(" ");
        assert!(said.starts_with("tokens kept earlier are not used: `"), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(std::fs::read(&path).unwrap() == whole);
    }
    // Other texts of the same length.
    let texts = std::fs::read_to_string(world.at("texts")).unwrap();
    std::fs::write(world.at("texts"), texts.replace("heron", "nrohe")).unwrap();
    let mut heard = Heard::default();
    made(&mut heard);
    assert!(heard.said[0].contains("it was made from something else"), "{:?}", heard.said);
}

#[test]
fn a_stopped_or_killed_run_leaves_nothing_that_changes_the_next() {
    let world = World::new();
    world.documents(Some("whole"), 2, &mut Heard::default()).unwrap();
    let whole = std::fs::read(world.at("whole/shard-0")).unwrap();
    for end in [End::Stop(1), End::Stop(2), End::Kill(1), End::Kill(3)] {
        let mut heard = Heard { end: Some(end), ..Heard::default() };
        let done =
            catch_unwind(AssertUnwindSafe(|| world.documents(Some("attempt"), 2, &mut heard)));
        match (end, done) {
            (End::Stop(_), Ok(Err(Failure::Interrupted))) | (End::Kill(_), Err(_)) => {}
            (end, done) => panic!("{end:?} gave {done:?}"),
        }
        // A process that is killed for good leaves a part of a shard behind.
        std::fs::write(world.at("attempt/shard-0.new"), &whole[..whole.len() / 3]).unwrap();
    }
    world.documents(Some("attempt"), 3, &mut Heard::default()).unwrap();
    assert!(std::fs::read(world.at("attempt/shard-0")).unwrap() == whole);
}

#[test]
fn a_full_disk_is_told() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let world = World::new();
    std::fs::create_dir(world.at("attempt")).unwrap();
    symlink(full, world.at("attempt/shard-0.new")).unwrap();
    let failure = world.documents(Some("attempt"), 2, &mut Heard::default()).unwrap_err();
    let Failure::Io { path, error } = failure else { panic!("{failure:?}") };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(path, world.at("attempt/shard-0.new"));
}
