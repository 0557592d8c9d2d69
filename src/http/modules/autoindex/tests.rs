//! The forms of a list, against nginx's own.

use super::page::Style;
use super::{data, page};
use crate::http::listing::{Entry, Kind};

fn entry(name: &str, kind: Kind, size: u64) -> Entry {
    Entry { name: name.into(), kind, modified: 23_349_600, size }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_page_is_nginxs() {
    let long = "n".repeat(51);
    let entries = [
        entry("dir", Kind::Directory, 4096),
        entry("a <&>", Kind::File, 10_240),
        entry(&long, Kind::File, 1 << 20),
        entry(&long[1..], Kind::File, 5),
    ];
    let shown = text(page::write(
        b"/<x>/",
        &entries,
        Style { localtime: false, exact_size: true, utf8: false },
    ));
    let lines: Vec<_> = shown.split("\r\n").collect();
    assert_eq!(lines[1], "<head><title>Index of /&lt;x&gt;/</title></head>");
    assert_eq!(lines[3], "<h1>Index of /&lt;x&gt;/</h1><hr><pre><a href=\"../\">../</a>");
    let spaces = |n: usize| " ".repeat(n);
    assert_eq!(
        lines[4],
        format!("<a href=\"dir/\">dir/</a>{} 28-Sep-1970 06:00 {}-", spaces(46), spaces(18))
    );
    assert_eq!(
        lines[5],
        format!(
            "<a href=\"a%20%3C%26%3E\">a &lt;&amp;&gt;</a>{} 28-Sep-1970 06:00 {}10240",
            spaces(45),
            spaces(14)
        )
    );
    assert!(lines[6].contains(&format!("\">{}..&gt;</a> 28-Sep", &long[..47])), "{}", lines[6]);
    assert!(lines[7].contains(&format!("\">{}</a> 28-Sep", &long[1..])), "{}", lines[7]);
    assert_eq!(&lines[8..], ["</pre><hr></body>", "</html>", ""]);
}

#[test]
fn letters_of_utf8_count_as_one() {
    let shown = |name: &str, utf8| {
        let style = Style { localtime: false, exact_size: true, utf8 };
        text(page::write(b"/", &[entry(name, Kind::File, 1)], style))
    };
    assert!(shown("\u{e4}", true).contains(&format!(">\u{e4}</a>{} 28-", " ".repeat(49))));
    assert!(shown("\u{e4}", false).contains(&format!(">\u{e4}</a>{} 28-", " ".repeat(48))));
    let long = "\u{e4}".repeat(51);
    assert!(shown(&long, true).contains(&format!(">{}..&gt;</a> 28-", "\u{e4}".repeat(47))));
}

#[test]
fn sizes_are_rounded() {
    for (size, expected) in [
        (9999, "   9999"),
        (10_000, "    10K"),
        (10_752, "    11K"),
        (1 << 20, "     1M"),
        ((1 << 20) + (1 << 19), "     2M"),
        (5 << 30, "     5G"),
    ] {
        let style = Style { localtime: false, exact_size: false, utf8: false };
        let shown = text(page::write(b"/", &[entry("a", Kind::File, size)], style));
        let line = shown.lines().nth(4).unwrap();
        assert!(line.ends_with(&format!("06:00 {expected}")), "{line}");
    }
}

#[test]
fn data_is_nginxs() {
    let entries =
        [entry("d", Kind::Directory, 1), entry("q\"<", Kind::File, 2), entry("s", Kind::Other, 0)];
    assert_eq!(
        text(data::json(&entries)),
        "[\r\n{ \"name\":\"d\", \"type\":\"directory\", \"mtime\":\"Mon, 28 Sep 1970 06:00:00 GMT\" },\r\n\
         { \"name\":\"q\\\"<\", \"type\":\"file\", \"mtime\":\"Mon, 28 Sep 1970 06:00:00 GMT\", \"size\":2 },\r\n\
         { \"name\":\"s\", \"type\":\"other\", \"mtime\":\"Mon, 28 Sep 1970 06:00:00 GMT\" }\r\n]"
    );
    assert_eq!(text(data::json(&[])), "[\r\n]");
    assert_eq!(text(data::jsonp(&[], b"f.g")), "/* callback */\r\nf.g([\r\n]);");
    assert_eq!(
        text(data::xml(&entries[..2])),
        "<?xml version=\"1.0\"?>\r\n<list>\r\n<directory mtime=\"1970-09-28T06:00:00Z\">d</directory>\r\n\
         <file mtime=\"1970-09-28T06:00:00Z\" size=\"2\">q&quot;&lt;</file>\r\n</list>\r\n"
    );
}
