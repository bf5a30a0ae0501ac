use proptest::prelude::*;
use serde_json::json;

use super::*;

fn document() -> Value {
    json!({
        "Id": "abc", "Name": "/web", "Count": 3, "Half": 0.5, "Up": true, "Nothing": null,
        "Config": { "Labels": { "a.b": "one", "c": "two" }, "Env": ["A=1", "B=2"], "Empty": [] },
        "NetworkSettings": {
            "Ports": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }], "90/tcp": null },
            "Networks": { "bridge": { "IPAddress": "172.17.0.2" }, "other": { "IPAddress": "10.0.0.2" } },
        },
        "Mounts": [{ "Source": "/a", "Destination": "/b" }],
    })
}

fn shows(template: &str) -> String {
    let rendered = Template::parse(template).and_then(|template| template.render(&document()));
    rendered.unwrap_or_else(|fault| panic!("{template}: {fault}"))
}

fn fails(template: &str) -> String {
    let rendered = Template::parse(template).and_then(|template| template.render(&document()));
    rendered.expect_err(template).to_string()
}

#[test]
fn what_dockers_documentation_shows_works() {
    let cases = [
        ("{{.Id}}", "abc"),
        ("{{ .Name }} and {{.Count}}", "/web and 3"),
        ("{{json .Mounts}}", r#"[{"Destination":"/b","Source":"/a"}]"#),
        ("{{.Mounts}}", "[map[Destination:/b Source:/a]]"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "172.17.0.2 10.0.0.2 "),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{index .Config.Labels \"a.b\"}}|{{index .Config.Labels \"x\"}}|", "one||"),
        (
            "{{range $p, $conf := .NetworkSettings.Ports}} {{$p}} -> {{with $conf}}{{(index . 0).HostPort}}{{else}}-{{end}}{{end}}",
            " 80/tcp -> 8080 90/tcp -> -",
        ),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{join .Config.Env \" or \"}}", "A=1 or B=2"),
        ("{{split .Name \"e\"}}", "[/w b]"),
        ("{{upper .Id}} {{lower \"ABC\"}} {{title \"one two's\"}}", "ABC abc One Two's"),
        ("{{pad .Id 1 2}}|{{truncate .Name 2}}", " abc  |/w"),
        ("{{if .Up}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{if eq .Id \"x\"}}1{{else if eq .Count 3}}2{{else}}3{{end}}", "2"),
        ("{{if and .Up (not .Nothing)}}yes{{end}}{{or .Nothing \"else\"}}", "yeselse"),
        ("{{len .Config.Env}} {{len .Id}} {{gt (len .Mounts) 0}}", "2 3 true"),
        ("{{.Id | upper | printf \"%s-%d-%-4s|\" .Name .Count}}", "/web-3-ABC |"),
        ("{{/* nothing */}}a {{- \" b \" -}} c", "a b c"),
        ("{{$x := .Id}}{{$x}}{{with .Config}}{{$x}}{{$.Count}}{{end}}", "abcabc3"),
        ("{{range $i, $e := .Config.Env}}{{if $i}}, {{end}}{{$e}}{{end}}", "A=1, B=2"),
        ("{{range .Config.Empty}}x{{else}}none{{end}}", "none"),
        ("{{$n := 0}}{{range .Config.Env}}{{$n = .}}{{break}}{{end}}{{$n}}", "A=1"),
        ("{{.Nothing}} {{.Half}} {{print 1 2 \"x\"}} {{slice .Name 1}}", "<no value> 0.5 1 2x web"),
        ("{{eq .Id \"x\" \"abc\"}} {{ne 1 2}} {{le 1 1.5}}", "true true true"),
        ("no action", "no action"),
    ];
    for (template, expected) in cases {
        assert_eq!(shows(template), expected, "{template}");
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let cases = [
        ("{{.Missing}}", "map has no entry for key \"Missing\""),
        ("{{.Id.More}}", "can't evaluate field More in type string"),
        ("{{html .Id}}", "function \"html\" not defined"),
        ("{{template \"x\"}}", "{{template}} is not supported"),
        ("{{define \"x\"}}{{end}}", "{{define}} is not supported"),
        ("{{.Id", "unclosed action"),
        ("{{}}", "missing value for command"),
        ("{{if .Up}}", "without {{end}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{.Id .Name}}", "can't give argument to non-function .Id"),
        ("{{index .Config.Env 7}}", "out of range: 7"),
        ("{{range .Count}}{{end}}", "can't iterate over 3"),
        ("{{$x}}", "undefined variable: $x"),
        ("{{lower}}", "want 1 got 0"),
        ("{{lower .Count}}", "expected string; got int"),
        ("{{printf \"%x\" .Id}}", "%x of a string is not supported"),
        ("{{\"open}}", "unterminated quoted string"),
        ("{{break}}", "outside {{range}}"),
        ("{{eq .Id 1}}", "incompatible types"),
        ("{{(.Id}}", "unclosed left paren"),
    ];
    for (template, expected) in cases {
        let error = fails(template);
        assert!(error.contains(expected), "{template}: {error}");
    }
}

#[test]
fn what_would_take_for_ever_ends() {
    let document: Value = (0..200).collect();
    let nested = "{{range $}}".repeat(20) + "x" + &"{{end}}".repeat(20);
    let error = Template::parse(&nested).unwrap().render(&document).unwrap_err();
    assert!(error.to_string().contains("too much"), "{error}");
    let doubled =
        "{{$x := \"0123456789\"}}".to_owned() + "{{range $}}{{$x = printf \"%s%s\" $x $x}}{{end}}{{$x}}";
    assert!(Template::parse(&doubled).unwrap().render(&document).is_err());
    for deep in ["(".repeat(5000), "{{if 1}}".repeat(5000)] {
        assert!(Template::parse(&format!("{{{{{deep}")).is_err());
    }
}

const LISTING: Listing<'static> = Listing {
    headings: &[("ID", "CONTAINER ID"), ("Names", "NAMES"), ("Labels", "LABELS")],
    columns: &["ID", "Names"],
};

fn rows() -> Vec<Row> {
    let labels = BTreeMap::from([("com.example.my-tier".to_owned(), "front".to_owned())]);
    vec![Row::new([("ID", "1".into()), ("Names", "web".into())]).with_labels(&labels)]
}

#[test]
fn lists_are_tables_lines_or_json() {
    let shows = |format: &str| LISTING.render(format, &rows()).unwrap();
    let table = "CONTAINER ID   NAMES\n1              web\n";
    assert_eq!(shows(""), table);
    assert_eq!(shows("table"), table);
    assert_eq!(shows("table {{.ID}}\\t{{.Names}}"), table);
    assert_eq!(shows("table {{upper .Names}}\t{{json .ID}}"), "NAMES     CONTAINER ID\nWEB       \"1\"\n");
    assert_eq!(
        shows("table {{.Label \"com.example.my-tier\"}}\\t{{.ID}}"),
        "my tier   CONTAINER ID\nfront     1\n"
    );
    assert_eq!(shows("{{.ID}}: {{.Names}}\\t{{.Label \"x\"}}"), "1: web\t\n");
    let json = "{\"ID\":\"1\",\"Labels\":\"com.example.my-tier=front\",\"Names\":\"web\"}\n";
    assert_eq!((shows("json"), shows("{{json .}}")), (json.to_owned(), json.to_owned()));
    assert!(LISTING.render("{{.Nope}}", &rows()).is_err());
    assert!(LISTING.render("table {{.Nope}}", &[]).is_err());
    assert_eq!(LISTING.render("table {{.ID}}", &[]).unwrap(), "CONTAINER ID\n");
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC{0,60}") {
        let _ = Template::parse(&text).map(|template| template.render(&document()));
    }

    #[test]
    fn anything_like_a_template_is_survived(words in proptest::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{{-", "-}}", ".", ".Id", ".Config.Env", " ", "$", "$x", ":=", "=", "|", "(", ")", ",", "if ", "range ",
        "with ", "else", "end", "{{end}}", "{{else}}", "index ", "json ", "join ", "eq ", "not ", "\"", "\"a\"", "`", "0", "-1",
        "1e9", "printf ", "\"%5s%d\"", "slice ", "len ", "break", "text", "/*", "*/",
    ]), 0..24)) {
        let _ = Template::parse(&words.concat()).map(|template| template.render(&document()));
    }

    #[test]
    fn text_without_actions_stays_as_it_is(text in "[^{]{0,80}") {
        prop_assert_eq!(Template::parse(&text).unwrap().render(&document()).unwrap(), text);
    }

    #[test]
    fn json_shows_every_text(text in "\\PC{0,40}") {
        let shown = Template::parse("{{json .}}").unwrap().render(&text.clone().into()).unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
