//! The page on hardening says which test shows what: it must not promise one that is not there.

use std::path::Path;

fn read_all(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of tests") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).expect("text"));
        }
    }
}

#[test]
fn every_test_that_the_page_on_hardening_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/hardening.md")).expect("a page");
    let mut tests = String::new();
    read_all(&root.join("tests/it"), &mut tests);
    let names: Vec<_> = page.split('`').skip(1).step_by(2).collect();
    assert!(names.len() > 40, "{} tests", names.len());
    let is_missing = |name: &&str| !tests.contains(&format!("fn {name}("));
    let missing: Vec<_> = names.into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
