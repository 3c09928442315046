//! A subscription as it is written, fit to be shown to people.

use serde_json::{Map, Value};

use super::url;

/// Keys whose values are nobody's business.
const SECRET: [&str; 1] = ["app_key"];
/// Keys that hold addresses with passwords in them.
const ADDRESSES: [&str; 3] = ["broker", "backend", "broker_management_url"];

/// The keys of `written` without secrets, and `name` with them.
pub fn subscription(name: &str, written: &Value) -> Value {
    let mut shown = Map::new();
    for (key, value) in written.as_object().into_iter().flatten() {
        let value = match (key.as_str(), value) {
            (key, _) if SECRET.contains(&key) => continue,
            (key, Value::String(text)) if ADDRESSES.contains(&key) => masked(text).into(),
            // Options of a transport may hold the password of its sentinels.
            ("redis", Value::Object(options)) => without_passwords(options),
            _ => value.clone(),
        };
        shown.insert(key.clone(), value);
    }
    shown.insert("name".into(), name.into());
    Value::Object(shown)
}

/// Each address of a failover list. Without a user there is no password to hide, and a port is seen.
fn masked(text: &str) -> String {
    let shown = |url: &str| match url.contains("://") && !url.contains(['@', '?']) {
        true => url.to_owned(),
        false => url::masked(url),
    };
    let urls: Vec<_> = text.split(';').map(|one| shown(one.trim())).collect();
    urls.join(";")
}

fn without_passwords(options: &Map<String, Value>) -> Value {
    let shown = options.iter().filter(|(key, _)| !key.contains("password"));
    let shown = shown.map(|(key, value)| {
        let value = match value {
            Value::Object(inner) => without_passwords(inner),
            other => other.clone(),
        };
        (key.clone(), value)
    });
    Value::Object(shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_secret_is_shown() {
        let written = json!({
            "broker": "amqp://leek:hunter2@one/v; amqp://leek:hunter2@two",
            "backend": "redis://:hunter2@cache/1; redis://cache?password=hunter2; redis://cache:6380/1",
            "broker_management_url": null,
            "app_key": "hunter2",
            "prefetch_count": 2000,
            "redis": {"master_name": "m", "sentinel_kwargs": {"password": "hunter2"}},
        });
        let shown = subscription("shop-qa", &written);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        let backend = shown["backend"].as_str().unwrap();
        assert!(backend.ends_with(";redis://cache:6380/1"), "{backend}");
        assert_eq!(shown["name"], "shop-qa");
        assert_eq!(shown["prefetch_count"], 2000);
        assert_eq!(shown["redis"]["master_name"], "m");
        assert_eq!(
            shown["broker"],
            "amqp://leek:********@one/v;amqp://leek:********@two"
        );
    }
}
