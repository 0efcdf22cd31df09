//! What two topic filters have to do with each other: is one within the other, do they share a topic?

/// Whether every topic that `inner` matches is matched by `outer`.
pub fn covers(outer: &str, inner: &str) -> bool {
    if is_wild(outer) && inner.starts_with('$') {
        return false;
    }
    let mut levels = inner.split('/');
    for wanted in outer.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if level != "#" && (wanted == "+" || wanted == level) => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether there is a topic that both match.
pub fn overlaps(one: &str, other: &str) -> bool {
    let is_special = |filter: &str| filter.starts_with('$');
    if (is_wild(one) && is_special(other)) || (is_special(one) && is_wild(other)) {
        return false;
    }
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(one), Some(other)) if one == "+" || other == "+" || one == other => {}
            _ => return false,
        }
    }
}

/// Topics that begin with `$` are none of its.
fn is_wild(filter: &str) -> bool {
    filter.starts_with(['+', '#'])
}
