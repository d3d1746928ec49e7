//! What is a query and what is not, and the tree it becomes.

use kettle_ql::{
    Comparison, MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, MAX_PATTERN, MAX_VALUES, Node, Order, Test, parse,
};

/// Writes a tree with every group in parentheses.
fn show(node: &Node) -> String {
    let group = |nodes: &[Node], by: &str| format!("({})", nodes.iter().map(show).collect::<Vec<_>>().join(by));
    match node {
        Node::And(nodes) => group(nodes, " & "),
        Node::Or(nodes) => group(nodes, " | "),
        Node::Comparison(Comparison { field, negated, test }) => {
            let test = match test {
                Test::Present => "present".to_owned(),
                Test::Equal(value) => format!("equal [{value}]"),
                Test::Like(value) => format!("like [{value}]"),
                Test::In(values) => format!("in [{}]", values.join("|")),
                Test::Ordered(Order::Less, value) => format!("< [{value}]"),
                Test::Ordered(Order::LessOrEqual, value) => format!("<= [{value}]"),
                Test::Ordered(Order::Greater, value) => format!("> [{value}]"),
                Test::Ordered(Order::GreaterOrEqual, value) => format!(">= [{value}]"),
            };
            format!("{field} {}{test}", if *negated { "not " } else { "" })
        }
    }
}

fn check(query: &str, tree: &str) {
    let shown = parse(query).map(|node| show(&node)).unwrap_or_else(|error| error.to_string());
    assert_eq!(shown, tree, "{query}");
}

#[test]
fn operators() {
    for operator in ["==", "=is=", "=eq=", "=EQ="] {
        check(&format!("name{operator}x"), "name equal [x]");
        check(&format!("name{operator}x*"), "name like [x*]");
    }
    for operator in ["!=", "=not=", "=ne="] {
        check(&format!("name{operator}x"), "name not equal [x]");
        check(&format!("name{operator}x*"), "name not like [x*]");
    }
    for (operator, shown) in [
        ("<", "<"),
        ("=lt=", "<"),
        ("<=", "<="),
        ("=le=", "<="),
        (">", ">"),
        ("=gt=", ">"),
        (">=", ">="),
        ("=ge=", ">="),
    ] {
        check(&format!("weight{operator}5"), &format!("weight {shown} [5]"));
    }
    check("name=in=(a,b*)", "name in [a|b*]");
    check("name=in=a", "name in [a]");
    check("name=out=( 'a b' , c or d )", "name not in [a b|c|d]");
    check("name==(a)", "name equal [a]");
    check("name == a", "name equal [a]");
}

#[test]
fn absence() {
    check("name=is=null", "name not present");
    check("name=eq='null'", "name not present");
    check("name=not=NULL", "name present");
    check("name=ne=null", "name present");
    check("name==null", "name equal [null]");
    check("name!=null", "name not equal [null]");
    check("name==''", "(name not present | name equal [])");
    check("name!=\"\"", "(name like [*] & name not equal [])");
}

#[test]
fn and_binds_tighter_than_or() {
    check("a==1,b==2;c==3", "(a equal [1] | (b equal [2] & c equal [3]))");
    check("a==1 or b==2 AND c==3", "(a equal [1] | (b equal [2] & c equal [3]))");
    check("(a==1,b==2);c==3", "((a equal [1] | b equal [2]) & c equal [3])");
    check("a==1;b==2;c==3", "(a equal [1] & b equal [2] & c equal [3])");
    check("((a==1))", "a equal [1]");
    check(" ( a==1 ; b==2 ) ", "(a equal [1] & b equal [2])");
    check("a==1  and  b==2", "(a equal [1] & b equal [2])");
    check("and==or or or==and", "(and equal [or] | or equal [and])");
}

#[test]
fn values_are_words_or_quoted() {
    check("name=='delta one'", "name equal [delta one]");
    check("name==\"a'b\"", "name equal [a'b]");
    check(r"name=='it\'s \\ \x'", r"name equal [it's \ x]");
    check(r"name==gamma\*", r"name equal [gamma\*]");
    check(r"name=='gamma\*'", "name like [gamma*]");
    check(r"name==a\b", r"name equal [a\b]");
    check("name==x_y%z", "name equal [x_y%z]");
    check("Attribute.Some.Key==${NOW_TS}", "attribute.some.key equal [${now_ts}]");
    check("name=='a;b,(c)=d'", "name equal [a;b,(c)=d]");
    check("name==ÉPSILON", "name equal [Épsilon]");
    check("id==-1", "id equal [-1]");
}

#[test]
fn errors_name_the_place() {
    check("", "at character 0: expected a field or (, found the end");
    check("name", "at character 4: expected a comparison operator, found the end");
    check("name=", "at character 4: unexpected =");
    check("name==", "at character 6: expected a value, found the end");
    check("==x", "at character 0: expected a field or (, found ==");
    check("name=zz=x", "at character 4: there is no comparison operator =zz=");
    check("name=like=al*", "at character 4: there is no comparison operator =like=");
    check("name=~alpha", "at character 4: unexpected =");
    check("name==alpha;", "at character 12: expected a field or (, found the end");
    check("(name==alpha", "at character 12: expected and, or, or ), found the end");
    check("name==alpha)", "at character 11: expected and, or, or the end, found )");
    check("name==é x", "at character 8: expected and, or, or the end, found x");
    check("(a==1)and b==2", "at character 6: expected and, or, or the end, found and");
    check("name==(a,b)", "at character 8: expected ) after the only value this operator takes, found or");
    check("name=in=()", "at character 9: expected a value, found )");
    check("name=in=(a;b)", "at character 10: expected a comma or ), found and");
    check("name=='open", "at character 6: unexpected ' without its closing '");
    check(r"name=='open\'", "at character 6: unexpected ' without its closing '");
    check("'name'==x", "at character 0: expected a field or (, found 'name'");
    check("name!x", "at character 4: unexpected !");
    check("name==a\0b", "at character 7: a query holds no NUL");
}

#[test]
fn limits() {
    let nested = |depth: usize| format!("{}a==1{}", "(".repeat(depth), ")".repeat(depth));
    check(&nested(MAX_DEPTH), "a equal [1]");
    check(&nested(MAX_DEPTH + 1), "at character 64: parentheses are nested more than 64 deep");
    check(&"(".repeat(MAX_LENGTH), "at character 64: parentheses are nested more than 64 deep");

    let chain = |comparisons: usize| vec!["a==1"; comparisons].join(";");
    assert!(matches!(parse(&chain(MAX_COMPARISONS)), Ok(Node::And(nodes)) if nodes.len() == MAX_COMPARISONS));
    check(&chain(MAX_COMPARISONS + 1), "at character 2500: there are more than 500 comparisons");

    let set = |values: usize| format!("a=in=({})", vec!["1"; values].join(","));
    assert!(parse(&set(MAX_VALUES)).is_ok());
    check(&set(MAX_VALUES + 1), "at character 20006: there are more than 10000 values");

    let longest = format!("a=={}", "x".repeat(MAX_LENGTH - 3));
    assert!(parse(&longest).is_ok());
    check(&format!("{longest}x"), "at character 0: the query is longer than 65536 bytes");
    check(&format!("a=={}*", "x".repeat(MAX_PATTERN)), "at character 3: a value with * is longer than 4096 bytes");
}

#[test]
fn no_text_panics() {
    let pieces = ["a", "==", "'", "\"", "\\", "(", ")", ";", ",", " and ", " ", "=", "!", "~", "é", "=in=", "*", "\t"];
    for first in pieces {
        for second in pieces {
            for third in pieces {
                for fourth in pieces {
                    let text = [first, second, third, fourth].concat();
                    if let Err(error) = parse(&text) {
                        assert!(error.position <= text.chars().count(), "{text}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_field_can_be_split_off_at_the_top() {
    let split = |query: &str| {
        parse(query).map(|node| node.split_off("complete")).map(|(taken, left)| {
            (
                taken.into_iter().map(|taken| show(&Node::Comparison(taken))).collect::<Vec<_>>(),
                left.map(|left| show(&left)),
            )
        })
    };
    let complete = || vec!["complete equal [true]".to_owned()];
    assert_eq!(split("complete==true"), Ok((complete(), None)));
    assert_eq!(split("a==1;complete==true"), Ok((complete(), Some("a equal [1]".to_owned()))));
    assert_eq!(split("a==1;complete==true;b==2"), Ok((complete(), Some("(a equal [1] & b equal [2])".to_owned()))));
    assert_eq!(split("a==1,complete==true"), Ok((vec![], Some("(a equal [1] | complete equal [true])".to_owned()))));
}
