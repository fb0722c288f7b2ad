//! Chat templates of others: rendered to the letter as Jinja2 renders them, safe from whatever
//! users write, and bounded whatever they do.

use std::path::Path;

use llamake::train::data::chat::{ChatFormat, Template};
use llamake::train::data::chat_template;
use llamake::train::data::rows::Message;
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::data::tokenizer_files::{self, Names};
use serde_json::{Value, json};

use super::{file, shared_data, told};

/// Made by `chat_renders.py` beside it.
const EXPECTED: &str = include_str!("fixtures/chat_renders.json");

fn format(jinja: &str, bos: &str, eos: &str) -> ChatFormat {
    ChatFormat::new(&Template {
        name: "test".into(),
        jinja: jinja.into(),
        bos: bos.into(),
        eos: eos.into(),
        forbidden: vec![],
    })
    .unwrap()
}

fn turns(turns: &[(&str, &str)]) -> Vec<Message> {
    turns.iter().map(|(role, content)| Message::new(*role, *content)).collect()
}

fn json_file(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn json_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn message(role: &Value, content: &Value) -> Message {
    let role = match role.as_str().unwrap() {
        "human" | "prompter" => "user",
        "gpt" => "assistant",
        other => other,
    };
    Message::new(role, content.as_str().unwrap())
}

/// The dialogues of `chat_renders.py`, in its order.
fn dialogues(data: &Path) -> Vec<Vec<Message>> {
    let mut found = vec![];
    let rows = json_file(&data.join("instructions/sharegpt_dummy_conversation.json"));
    for row in rows.as_array().unwrap().iter().step_by(25) {
        let turns = row["conversations"].as_array().unwrap().iter();
        found.push(turns.map(|turn| message(&turn["from"], &turn["value"])).collect());
    }
    let trees = json_lines(&data.join("instructions/oasst_en_100_tree.jsonl"));
    for tree in trees.iter().step_by(6) {
        let mut path = vec![];
        let mut node = &tree["prompt"];
        while !node.is_null() {
            path.push(message(&node["role"], &node["text"]));
            node = &node["replies"][0];
        }
        found.push(path);
    }
    let rows = json_file(&data.join("preferences/dpo_en_demo.json"));
    for row in rows.as_array().unwrap().iter().step_by(20) {
        let turns = row["conversations"].as_array().unwrap().iter().chain([&row["chosen"]]);
        found.push(turns.map(|turn| message(&turn["from"], &turn["value"])).collect());
    }
    for row in json_lines(&data.join("instructions/mt_bench_question.jsonl")).iter().step_by(5) {
        let [first, second] = [0, 1].map(|at| row["turns"][at].as_str().unwrap());
        found.push(turns(&[("user", first), ("assistant", " Indeed.\n"), ("user", second)]));
    }
    for text in NASTY {
        let twice = format!("{text} {text}");
        found.push(turns(&[("user", text), ("assistant", "Yes."), ("user", &twice)]));
    }
    found.push(turns(&[("user", "a"), ("user", "b"), ("assistant", "c")]));
    found
}

const NASTY: [&str; 10] = [
    "</s>",
    "<|im_end|>",
    "[INST]",
    "<|eot_id|>",
    "\u{FDD0}",
    "\u{1C} x \u{1F}",
    "\u{A0}y\u{3000}",
    "{{ messages }}",
    "a\n\n",
    "",
];

fn digest(text: &str) -> String {
    let step = |state: u64, byte: u8| {
        state.wrapping_mul(1_099_511_628_211).wrapping_add(u64::from(byte)).wrapping_add(1)
    };
    text.bytes().fold(0, step).to_string()
}

#[test]
fn templates_write_what_jinja2_writes() {
    let Some(data) = shared_data("") else { return };
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let dialogues = dialogues(&data);
    for (name, expected) in expected.as_object().unwrap() {
        let (stem, manner) = name.split_once(' ').unwrap();
        let path = data.join("chat_templates").join(stem).with_extension("jinja");
        let mut jinja = std::fs::read_to_string(path).unwrap();
        if manner == "joined" {
            jinja = jinja.replace("    ", "").replace('\n', "");
        }
        let format = format(&jinja, "<s>", "</s>");
        let mut written = vec![];
        for dialogue in &dialogues {
            let system = Message::new("system", "  You are a careful assistant.\n");
            let with_system: Vec<Message> = [system].into_iter().chain(dialogue.clone()).collect();
            for turns in [dialogue, &with_system] {
                written.push(format.text(1, turns).ok());
                written.push(format.prompt_text(1, turns).ok());
            }
        }
        for (at, text) in expected["whole"].as_object().unwrap() {
            let written = written[at.parse::<usize>().unwrap()].as_deref();
            assert_eq!(written, text.as_str(), "{name}: {at}");
        }
        let digests: Vec<Value> =
            written.iter().map(|text| json!(text.as_deref().map(digest))).collect();
        let digests = digests.iter().zip(expected["digests"].as_array().unwrap());
        let wrong: Vec<usize> = digests
            .enumerate()
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(at, _)| at)
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}, {:?}", written[wrong[0]]);
        assert_eq!(written.len(), expected["digests"].as_array().unwrap().len());
    }
}

fn minimind(bos: &str, eos: &str) -> Option<Tokenizer> {
    let folder = shared_data("tokenizers")?.join("minimind");
    let names = Names { bos: Some(bos.into()), eos: Some(eos.into()), unknown: None };
    Some(tokenizer_files::read(&[folder], &names).unwrap())
}

/// Special ids of a prompt.
fn specials(format: &ChatFormat, tokenizer: &Tokenizer, turns: &[Message]) -> Vec<u32> {
    let ids = format.prompt(tokenizer, 1, turns).unwrap();
    let special = |id: &u32| tokenizer.specials().iter().any(|special| special.id == *id);
    ids.into_iter().filter(special).collect()
}

#[test]
fn nobody_but_the_template_writes_special_tokens() {
    let Some(data) = shared_data("chat_templates") else { return };
    let (framing, chatml) = (["<s>", "</s>"], ["<|im_start|>", "<|im_end|>"]);
    let llama2 = tokenizer_files::read(&[data.join("../tokenizers/llama2")], &Names::default());
    let cases = [(framing, llama2.unwrap()), (chatml, minimind(chatml[0], chatml[1]).unwrap())];
    let hostile = [
        "</s>",
        "<s>",
        "<|im_end|>",
        "<|im_start|>system\n",
        "[INST]",
        "<|eot_id|>",
        "\u{FDD0}",
        "\u{FDD0}0\u{FDD1}",
        "\u{FDD1}",
        "<0x0A>",
        "{{ eos_token }}",
        "{% endfor %}",
        "<",
        "/s>",
        "|im_end|>",
        "<|im_",
        "<unk>",
        "<|endoftext|>",
        " ",
        "\n",
    ];
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut content = || -> String {
        let said: String = (0..1 + random(6)).map(|_| hostile[random(hostile.len())]).collect();
        said + "x"
    };
    for ([bos, eos], tokenizer) in &cases {
        for entry in std::fs::read_dir(&data).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "jinja") {
                continue;
            }
            let jinja = std::fs::read_to_string(&path).unwrap();
            let format = format(&jinja, bos, eos);
            let dialogue = |a: &str, b: &str, c: &str| {
                turns(&[("system", a), ("user", b), ("assistant", c), ("user", a)])
            };
            let own = specials(&format, tokenizer, &dialogue("a", "b", "c"));
            for _ in 0..60 {
                let turns = dialogue(&content(), &content(), &content());
                let found = specials(&format, tokenizer, &turns);
                assert_eq!(found, own, "{}: {turns:?}", path.display());
            }
        }
    }
}

/// A template that looks into what turns say, or changes it, can be asked but not learned from.
#[test]
fn changed_contents_can_be_prompted_with() {
    let Some(tokenizer) = minimind("<|im_start|>", "<|im_end|>") else { return };
    let rows = turns(&[
        ("user", "Which </s> is <|im_end|> it?"),
        ("assistant", "<think>hm</think>\n\nThat."),
        ("user", "Sure?"),
    ]);
    for (jinja, expected) in [
        (
            "{% for m in messages %}{{ bos_token + m.role }} {{ m.content.split('</think>')[-1]\
             .lstrip('\\n') }}{{ eos_token }}{% endfor %}",
            "<|im_start|>user Which </s> is <|im_end|> it?<|im_end|><|im_start|>assistant That.\
             <|im_end|><|im_start|>user Sure?<|im_end|>",
        ),
        (
            "{% for m in messages %}{{ bos_token + m.content | upper + eos_token }}{% endfor %}",
            "<|im_start|>WHICH </S> IS <|IM_END|> IT?<|im_end|><|im_start|><THINK>HM</THINK>\n\n\
             THAT.<|im_end|><|im_start|>SURE?<|im_end|>",
        ),
    ] {
        let format = format(jinja, "<|im_start|>", "<|im_end|>");
        let ids = format.prompt(&tokenizer, 1, &rows).unwrap();
        assert_eq!(tokenizer.decode_with_specials(&ids), expected);
        assert_eq!(specials(&format, &tokenizer, &rows), [1, 2, 1, 2, 1, 2]);
        let learned = format.example(&tokenizer, 1, &rows[..2]).unwrap_err();
        assert!(told(learned, Path::new("-")).contains("it changes what a turn says"));
    }
    // What makes a special token of a user's words is refused.
    let format = format(
        "{{ bos_token }}{% for m in messages %}{{ m.content | replace('!', '') }}{% endfor %}",
        "<|im_start|>",
        "<|im_end|>",
    );
    let sly = turns(&[("user", "a <|im!_end|> b")]);
    let said = told(format.prompt(&tokenizer, 1, &sly).unwrap_err(), Path::new("-"));
    assert!(said.contains("which might become a special token"), "{said}");
}

/// Tags that the template writes and that are tokens, though not special ones.
#[test]
fn tags_of_the_template_are_its_own() {
    let Some(tokenizer) = minimind("<|im_start|>", "<|im_end|>") else { return };
    let jinja = "{% for m in messages %}{{ bos_token + m.content + eos_token }}{% endfor %}\
                 {% if add_generation_prompt %}<think>{% endif %}";
    let format = format(jinja, "<|im_start|>", "<|im_end|>");
    let said = format.prompt(&tokenizer, 1, &turns(&[("user", "a <think> b")])).unwrap_err();
    let said = told(said, Path::new("-"));
    assert!(said.starts_with("row 1: a turn of the user contains `<think>`"), "{said}");
    format.prompt(&tokenizer, 1, &turns(&[("user", "a <tool_call> b")])).unwrap();
}

/// What transformers gives to templates, on one small case each; the texts are Jinja2's.
#[test]
fn jinja_is_set_up_as_transformers_does() {
    let said = turns(&[("user", "Hi <b>é</b>"), ("assistant", "\"Yo\"\n")]);
    for (jinja, expected) in [
        ("{{ messages[0] | tojson }}", "{\"role\": \"user\", \"content\": \"Hi <b>é</b>\"}"),
        ("{{ [1, 2.5, none, true, 'a'] | tojson }}", "[1, 2.5, null, true, \"a\"]"),
        ("{{ {'b': [], 'a': {}} | tojson(indent=2) }}", "{\n  \"b\": [],\n  \"a\": {}\n}"),
        ("{{ {'b': [1], 'a': 2} | tojson(sort_keys=true) }}", "{\"a\": 2, \"b\": [1]}"),
        ("{{ 'é🦙' | tojson(ensure_ascii=true) }}", "\"\\u00e9\\ud83e\\udd99\""),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}\
             {% endfor %}",
            "assistant",
        ),
        ("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}", "user"),
        (
            "{% for m in messages %}\n  {%- generation -%}\n {{ m.role }}\n {%- endgeneration %}\n\
             {% endfor %}",
            "userassistant",
        ),
        (
            "{{ tools is none }} {{ documents is none }} {{ x is defined }} {{ tools }}",
            "True True False None",
        ),
        ("{{ messages[-1].content.strip('\"\\n') }}|{{ 'a-b'.split('-') | join('+') }}", "Yo|a+b"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}\
             {% endfor %}{{ ns.n }}",
            "2",
        ),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(messages[0].role) }}", "<user>"),
        ("{{ messages[::-1] | map(attribute='role') | join(',') }}", "assistant,user"),
        ("{{ '%s!' | format('a') }} {{ 'ab'.title() }} {{ 'x'.startswith('x') }}", "a! Ab True"),
        ("a\n{% if true %}\nb\n{% endif %}\nc\n", "a\nb\nc"),
        ("{{ undefined_thing }}{{ messages[0].nothing }}|", "|"),
    ] {
        let format = format(jinja, "<s>", "</s>");
        assert_eq!(format.text(1, &said).unwrap_or_else(|f| panic!("{jinja}: {f:?}")), expected);
    }
}

#[test]
fn hostile_templates_end() {
    for jinja in [
        "{% for i in range(1000000000) %}{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ messages[0].content * 1000000000 }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}\
         {% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}\
         {% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(40) %}{% set ns.s = [ns.s, ns.s] %}\
         {% endfor %}{{ ns.s | tojson }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
        "{{ (('x,' * 100000).split(',') * 1000) | join('y' * 10000) }}",
        "{{ ('x' * 1000000) | indent(1000000000) }}",
        "{{ range(1000000000) | list }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 'x'.center(1000000000) }}",
    ] {
        let made = ChatFormat::new(&Template {
            name: "test".into(),
            jinja: jinja.into(),
            bos: "<s>".into(),
            eos: "</s>".into(),
            forbidden: vec![],
        });
        let text = made.and_then(|format| format.text(1, &turns(&[("user", "hello")])));
        let said = told(text.expect_err(jinja), Path::new("-"));
        assert!(said.contains("template `test`"), "{said}");
    }
    let dated = format("{{ strftime_now('%d') }}", "<s>", "</s>");
    let said = told(dated.text(1, &turns(&[("user", "a")])).unwrap_err(), Path::new("-"));
    assert!(said.contains("the day's date by `strftime_now`"), "{said}");
    let guarded = "{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}26{% endif %}";
    assert_eq!(format(guarded, "<s>", "</s>").text(1, &turns(&[("user", "a")])).unwrap(), "26");
    let deep = "{% if true %}".repeat(5000) + "x" + &"{% endif %}".repeat(5000);
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000));
    for jinja in [deep, nested] {
        let template = Template {
            name: "test".into(),
            jinja,
            bos: "<s>".into(),
            eos: "</s>".into(),
            forbidden: vec![],
        };
        assert!(ChatFormat::new(&template).is_err());
    }
}

#[test]
fn a_folder_says_which_template_is_its_own() {
    let read = |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| _ = file(folder.path(), name, text));
        chat_template::read(folder.path()).map_err(|failure| told(failure, folder.path()))
    };
    let config = "tokenizer_config.json";
    let tools = r#"{"name":"tool_use","template":"t"}"#;
    let named = format!(r#"{{"chat_template":[{tools},{{"name":"default","template":"d"}}]}}"#);
    let one = r#"{"chat_template":"c"}"#;
    assert_eq!(read(&[(config, one)]), Ok(Some("c".into())));
    assert_eq!(read(&[(config, &named)]), Ok(Some("d".into())));
    assert_eq!(read(&[(config, one), ("chat_template.jinja", "j")]), Ok(Some("j".into())));
    assert_eq!(read(&[(config, "{}"), ("chat_template.json", one)]), Ok(Some("c".into())));
    assert_eq!(read(&[(config, "{}")]), Ok(None));
    assert_eq!(read(&[]), Ok(None));
    let told = read(&[(config, r#"{"chat_template":[{"name":"rag","template":"t"}]}"#)]);
    assert!(told.unwrap_err().contains("holds none named `default`"));
    assert!(read(&[(config, "[")]).unwrap_err().contains("is no JSON object"));
}
