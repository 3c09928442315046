//! The text of a list of subscriptions with one more or one less. The others stay as somebody wrote
//! them, to the letter.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::config::raw;
use crate::control::action::Refusal;

/// The name that these keys make.
pub fn name(keys: &Map<String, Value>) -> String {
    let text = |key| keys.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{}-{}", text("app_name"), text("app_env"))
}

/// The list with one more at its end.
pub fn added(text: &str, keys: &Map<String, Value>) -> Result<String, Refusal> {
    let mut entries = entries(text)?;
    let new = name(keys);
    if entries.iter().any(|entry| is_named(entry, &new)) {
        return Err(Refusal::Exists(new));
    }
    let entry = serde_json::to_string_pretty(keys).expect("plain data");
    let entry = entry.replace('\n', "\n  ");
    entries.push(&entry);
    Ok(list(&entries))
}

/// The list without the one of that name.
pub fn removed(text: &str, name: &str) -> Result<String, Refusal> {
    let entries = entries(text)?;
    let (gone, kept): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| is_named(entry, name));
    match gone.is_empty() {
        true => Err(Refusal::UnknownSubscription(name.to_owned())),
        false => Ok(list(&kept)),
    }
}

fn entries(text: &str) -> Result<Vec<&str>, Refusal> {
    let text = text.trim_start_matches('\u{feff}');
    let entries: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        let fault = raw::syntax_fault("the file of subscriptions", &error);
        Refusal::Configuration(fault.to_string())
    })?;
    Ok(entries.into_iter().map(RawValue::get).collect())
}

fn is_named(entry: &str, wanted: &str) -> bool {
    match serde_json::from_str(entry) {
        Ok(Value::Object(keys)) => name(&keys) == wanted,
        _ => false,
    }
}

fn list(entries: &[&str]) -> String {
    match entries.is_empty() {
        true => "[]\n".to_owned(),
        false => format!("[\n  {}\n]\n", entries.join(",\n  ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const LIST: &str = "\u{feff}[ {\"app_env\":\"qa\",   \"app_name\": \"shop\"},\n\n{\"app_name\": \"till\", \"app_env\": \"qa\", \"note\": [1,\n 2]}]";

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[\\[\\]{}\",:a-z0-9\\\\ ]{0,60}") {
            let new = keys(json!({"app_name": "a", "app_env": "b"}));
            let _ = (added(&text, &new), removed(&text, "a-b"));
        }

        #[test]
        fn what_is_added_can_be_removed_again(numbers in proptest::collection::vec(any::<i32>(), 0..5)) {
            let list = json!(numbers).to_string();
            let new = keys(json!({"app_name": "a", "app_env": "b"}));
            let longer = added(&list, &new).expect("a list");
            let again = removed(&longer, "a-b").expect("there");
            let read: Vec<i32> = serde_json::from_str(&again).expect("a list");
            prop_assert_eq!(read, numbers);
        }
    }

    fn keys(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn what_is_not_concerned_stays_to_the_letter() {
        let new = keys(json!({"app_name": "bar", "app_env": "prod"}));
        let text = added(LIST, &new).unwrap();
        assert_eq!(
            text,
            "[\n  {\"app_env\":\"qa\",   \"app_name\": \"shop\"},\n  {\"app_name\": \"till\", \"app_env\": \"qa\", \"note\": [1,\n 2]},\n  {\n    \"app_env\": \"prod\",\n    \"app_name\": \"bar\"\n  }\n]\n"
        );
        let text = removed(&text, "till-qa").unwrap();
        assert_eq!(
            text,
            "[\n  {\"app_env\":\"qa\",   \"app_name\": \"shop\"},\n  {\n    \"app_env\": \"prod\",\n    \"app_name\": \"bar\"\n  }\n]\n"
        );
        let text = removed(&removed(&text, "shop-qa").unwrap(), "bar-prod").unwrap();
        assert_eq!(text, "[]\n");
        assert!(
            added(&text, &new)
                .unwrap()
                .starts_with("[\n  {\n    \"app_env\"")
        );
    }

    #[test]
    fn names_are_unique_and_known() {
        let twice = keys(json!({"app_name": "shop", "app_env": "qa"}));
        assert_eq!(added(LIST, &twice), Err(Refusal::Exists("shop-qa".into())));
        assert_eq!(
            removed(LIST, "shop-prod"),
            Err(Refusal::UnknownSubscription("shop-prod".into()))
        );
        let broken = added("[{]", &twice).unwrap_err();
        let Refusal::Configuration(line) = broken else {
            panic!("{broken:?}");
        };
        assert!(line.contains("1:3: not JSON"), "{line}");
    }
}
