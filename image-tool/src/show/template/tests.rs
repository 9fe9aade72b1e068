use serde::Deserialize;

use super::*;

/// A template with what Go 1.27 and docker's functions made of it, over the value of [`container`].
#[derive(Deserialize)]
struct Row {
    template: String,
    text: Option<String>,
    error: Option<String>,
}

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("expected.json")).unwrap()
}

fn container() -> Value {
    let state = Struct::new("*main.State")
        .with("Status", "running")
        .with("Running", true)
        .with("Pid", 42)
        .hidden("Health", Value::NilPointer);
    let mount = |source: &str, rw: bool| Struct::new("main.Mount").with("Source", source).with("RW", rw);
    let labels = [("a", "1"), ("b.c", "x y"), ("e", "")];
    let any: serde_json::Value =
        serde_json::from_str(r#"{"k":"v","list":["x",true,null],"map":{"z":"26","y":"25"},"nil":null,"empty":[]}"#)
            .unwrap();
    let of_label =
        move |key: &str| Value::text(labels.iter().find(|(known, _)| *known == key).map_or("", |label| label.1));
    Struct::new("main.Container")
        .with("Id", "0123456789abcdef")
        .with("Names", Value::list(["web", "db"]))
        .with("Labels", Value::map(labels))
        .with("NoMap", Value::Map(None))
        .with("NoList", Value::List(None))
        .with("State", state)
        .with("NoState", Value::NilPointer)
        .with("Num", 7)
        .with("Neg", -3)
        .with("Float", 2.5)
        .with("Small", 1e-7)
        .with("Empty", "")
        .with("Text", "Hello, 世界 <b>&\"'")
        .with("True", true)
        .with("Mounts", Value::list([mount("/a", true), mount("/b", false)]))
        .with("Ints", Value::list([3, 1, 2]))
        .with("Any", any)
        .with("Nothing", Value::Null)
        .hidden("Label", Value::Method(std::rc::Rc::new(of_label)))
        .into()
}

fn filled_in(template: &str) -> Result<String, String> {
    let pipe = tempfile::tempfile().unwrap();
    let template: Template = template.parse().map_err(|error: Error| error.to_string())?;
    template.fill_in(&container(), &pipe).map_err(|error| error.to_string())
}

/// Where an error is and what it is about, without what comes of Go's types: these have other names here.
fn outline(error: &str) -> String {
    let end = error.find(">: ").map_or(error.len(), |at| at + 3);
    error[..end].to_owned()
}

#[test]
fn templates_are_filled_in_as_by_go() {
    let mut wrong = Vec::new();
    let rows = rows();
    for Row { template, text, error } in &rows {
        let seen = filled_in(template);
        let is_same = match (&seen, text, error) {
            (Ok(seen), Some(text), _) => seen == text,
            (Err(seen), _, Some(error)) => outline(seen) == outline(error),
            _ => false,
        };
        if !is_same {
            wrong.push(format!("{template:?}\n    Go:   {:?}\n    ours: {seen:?}", text.as_ref().or(error.as_ref())));
        }
    }
    assert!(rows.len() > 450 && wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn a_duration_is_a_number_with_units() {
    let pipe = tempfile::tempfile().unwrap();
    let fill_in = |nanoseconds: i64, template: &str| {
        let value = Struct::new("main.T").with("D", Value::Duration(nanoseconds)).into();
        template.parse::<Template>().unwrap().fill_in(&value, &pipe).unwrap()
    };
    for (nanoseconds, text) in [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (2_000_000, "2ms"),
        (999_999_999, "999.999999ms"),
        (30_000_000_000, "30s"),
        (90_500_000_000, "1m30.5s"),
        (3_600_000_000_000, "1h0m0s"),
        (-1_000_000_000, "-1s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        assert_eq!(fill_in(nanoseconds, "{{.D}}"), text);
    }
    let all = "{{json .D}} {{printf \"%d %v %s\" .D .D .D}} {{eq .D 5}} {{gt .D 4}} {{if .D}}set{{end}} {{printf \"%T\" .D}} {{.}}";
    assert_eq!(fill_in(5, all), "5 5 5ns 5ns true true set time.Duration {5ns}");
}

#[test]
fn a_document_without_a_field_is_read_as_json() {
    let pipe = tempfile::tempfile().unwrap();
    let inspect = |template: &str| template.parse::<Template>().unwrap().inspect(&container(), &pipe);
    assert_eq!(inspect("{{.Id}} {{.ID}}").unwrap(), "0123456789abcdef 0123456789abcdef");
    assert_eq!(inspect("{{if .State.Health}}x{{end}}").unwrap(), "");
    assert_eq!(
        inspect("{{.State.Health.Status}}").unwrap_err().to_string(),
        r#"template: :1:8: executing "" at <.State.Health.Status>: map has no entry for key "Health""#
    );
}

#[test]
fn a_key_that_an_open_map_lacks_has_no_value() {
    let pipe = tempfile::tempfile().unwrap();
    for bindings in [Vec::new(), vec![("22/tcp", Value::list(["x"]))]] {
        let document = Struct::new("main.Settings").with("Ports", Value::open_map(bindings)).into();
        let inspect = |template: &str| template.parse::<Template>().unwrap().inspect(&document, &pipe);
        let template = r#"{{range index .Ports "80/tcp"}}{{.}}{{end}}{{json (index .Ports "80/tcp")}}"#;
        assert_eq!(inspect(template).unwrap(), "null");
        let error = inspect(r#"{{(index (index .Ports "80/tcp") 0).HostPort}}"#).unwrap_err().to_string();
        assert!(error.ends_with("error calling index: index of untyped nil"), "{error}");
    }
}

#[test]
fn no_template_exhausts_the_machine() {
    let nested = |open: &str, inside: &str, close: &str| open.repeat(5000) + inside + &close.repeat(5000);
    for (template, reason) in [
        (nested("{{if true}}", "x", "{{end}}"), "max expression depth exceeded"),
        (format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(5000)), "max expression depth exceeded"),
        (format!("{{{{{}}}}}", nested("(", "1", ")")), "max expression depth exceeded"),
        ("{{define \"x\"}}{{template \"x\" .}}{{end}}{{template \"x\" .}}".into(), "exceeded maximum template depth"),
        ("{{range 1000000000}}{{end}}".into(), "steps"),
        ("{{range 1000000000}}{{range 1000000000}}{{end}}{{end}}".into(), "steps"),
        ("{{$x := \"0123456789\"}}{{range 40}}{{$x = print $x $x}}{{end}}".into(), "bytes"),
        ("{{range 1000000}}{{pad \"x\" 1000000 0}}{{end}}".into(), "bytes of output"),
        ("x".repeat(2 << 20), "longer than"),
    ] {
        let error = filled_in(&template).unwrap_err();
        assert!(error.contains(reason), "{reason}: {}", &error[..error.len().min(200)]);
    }
}

mod any {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of which templates are made, so that some of them are valid.
    const PIECES: [&str; 60] = [
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "{{/*",
        "*/}}",
        " ",
        "\n",
        ".",
        "$",
        "|",
        ":=",
        "=",
        ",",
        "(",
        ")",
        "\"",
        "'",
        "`",
        "\\",
        "if ",
        "else ",
        "{{end}}",
        "range ",
        "with ",
        "define ",
        "template ",
        "block ",
        "break",
        "continue",
        ".ID",
        ".Names",
        ".State.Pid",
        ".Any.list",
        "$x",
        "$y",
        "\"a\"",
        "1",
        "-2",
        "1.5",
        "nil",
        "true",
        "eq ",
        "index ",
        "slice ",
        "len ",
        "printf ",
        "\"%v %5d%[2]*x\"",
        "json ",
        "join ",
        "split ",
        "pad ",
        "truncate ",
        "title ",
        "and ",
        "not ",
        "lt ",
        "js ",
        "é漢\u{1f600}",
        "\u{0}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn text_is_filled_in_or_refused(pieces in proptest::collection::vec(prop::sample::select(PIECES.to_vec()), 0..24)) {
            let _ = filled_in(&pieces.concat());
            let _ = filled_in(&format!("{{{{{}}}}}", pieces.concat()));
        }
    }
}
