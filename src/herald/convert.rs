//! Herald's keys are ours: what is left to do is to name the source, to pick the plugin that answered,
//! and to drop what means nothing here.

use serde_json::{Map, Value, json};

use super::yaml;
use crate::config::agent_check::{self, Open};
use crate::config::fault::{Fault, kind, quoted};
use crate::config::raw::{Faulty, Fields};

/// Keys that mean nothing to us.
const DROPPED: [&str; 4] = [
    "plugins_dir",
    "stop_timeout",
    "herald_plugin_name",
    "default",
];

/// A converted file.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// A configuration with one section, `agent_check`.
    pub config: Value,
    /// What is not as it was.
    pub notes: Vec<String>,
}

/// Converts a file's text; `name` is what to call it in faults. What comes of it is checked as if it
/// had been configured.
pub fn import(name: &str, text: &str, open: Open<'_>) -> Result<Imported, Vec<Fault>> {
    let read = yaml::read(text).map_err(|fault| {
        let place = format!("{name}:{}", fault.line);
        vec![Fault::plain(place, fault.expected)]
    })?;
    let Value::Object(keys) = read else {
        let expected = "expected Herald's configuration: bind, port and plugins";
        return Err(vec![Fault::new(name, kind(&read), expected)]);
    };
    let mut notes = Vec::new();
    let mut fields = Fields::new(name.into(), &keys);
    let converted = responder(&mut fields, &mut notes);
    let faults = std::mem::take(&mut fields.faults);
    let (Ok(responder), true) = (converted, faults.is_empty()) else {
        return Err(faults);
    };
    let mut checked = Fields::new(format!("{name}: agent_check[0]"), &responder);
    match agent_check::responder(&mut checked, open) {
        Ok(_) if checked.faults.is_empty() => Ok(Imported {
            config: json!({"agent_check": [responder]}),
            notes,
        }),
        _ => Err(checked.faults),
    }
}

fn responder(
    fields: &mut Fields<'_>,
    notes: &mut Vec<String>,
) -> Result<Map<String, Value>, Faulty> {
    let mut converted = kept(fields, "plugins");
    if converted.get("bind") == Some(&json!("localhost")) {
        converted.insert("bind".into(), json!("127.0.0.1"));
    }
    let Some(Value::Array(plugins)) = fields.get("plugins") else {
        return Err(fields.fault_plain("plugins", "expected a list of plugins"));
    };
    let is_default = |plugin: &&Value| plugin.get("default").is_some();
    let served = plugins.iter().find(is_default).or_else(|| plugins.first());
    let Some(Value::Object(keys)) = served else {
        return Err(fields.fault_plain("plugins", "expected a plugin"));
    };
    if plugins.len() > 1 {
        let name = keys.get("name").and_then(Value::as_str).unwrap_or_default();
        notes.push(format!(
            "only the plugin {name:?} ever answered in Herald: the others are left out"
        ));
    }
    let mut inner = Fields::new(fields.place_of("plugins"), keys);
    let plugin = plugin(&mut inner, notes);
    fields.faults.append(&mut inner.faults);
    converted.insert("plugins".into(), json!([plugin?]));
    Ok(converted)
}

fn plugin(fields: &mut Fields<'_>, notes: &mut Vec<String>) -> Result<Map<String, Value>, Faulty> {
    let key = "herald_plugin_name";
    let source = match fields.get(key).and_then(Value::as_str) {
        Some("herald_http") => "http",
        Some("herald_file") => "file",
        found => {
            let expected = "expected herald_http or herald_file: let a plugin of your own write a \
                            file, and read that";
            return Err(fields.fault(key, found.map_or("missing".into(), quoted), expected));
        }
    };
    let mut converted = kept(fields, key);
    converted.insert("source".into(), json!(source));
    let interval = fields.get("interval").and_then(Value::as_f64);
    if interval.unwrap_or(0.0) == 0.0 {
        notes.push(
            "interval 0: each check asks the source now; Herald asked, too, but said nothing"
                .into(),
        );
    }
    Ok(converted)
}

/// All keys that mean the same to us, without `other`.
fn kept(fields: &Fields<'_>, other: &str) -> Map<String, Value> {
    let names = fields
        .names()
        .filter(|name| *name != other && !DROPPED.contains(name));
    let members = names.filter_map(|name| Some((name.to_owned(), fields.get(name)?.clone())));
    members.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{ClientTls, TlsSettings};

    fn convert(text: &str) -> Result<Imported, String> {
        let open = |_| ClientTls::open(&TlsSettings::default());
        import("herald.yml", text, &open).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn a_file_is_converted_with_notes_of_what_changes() {
        let text = r#"---
name: api
bind: localhost
port: 5556
plugins_dir: /etc/herald/plugins
plugins:
  - name: first
    herald_plugin_name: herald_http
    url: http://localhost:9000/
    thresholds: [{pct: 5}]
  - name: service
    default: yes
    herald_plugin_name: herald_file
    file_path: /tmp/state
    is_json: yes
    stop_timeout: 10
    staleness_interval: 10
    staleness_response: noop
    patterns_metric: "r['health']"
    patterns:
      - ready: '.*healthy.*'
    thresholds_metric: "r['messages'] / 2"
    thresholds:
      - drain: ">7000"
      - down: 0
      - pct: 7000
        min_threshold_response: 1
    default_response: noop
"#;
        let imported = convert(text).expect("converted");
        let expected = json!({"agent_check": [{"name": "api", "bind": "127.0.0.1", "port": 5556, "plugins": [{
            "name": "service", "source": "file", "file_path": "/tmp/state", "is_json": true,
            "staleness_interval": 10, "staleness_response": "noop",
            "patterns_metric": "r['health']", "patterns": [{"ready": ".*healthy.*"}],
            "thresholds_metric": "r['messages'] / 2",
            "thresholds": [{"drain": ">7000"}, {"down": 0}, {"pct": 7000, "min_threshold_response": 1}],
            "default_response": "noop",
        }]}]});
        assert_eq!(imported.config, expected);
        let [others, interval] = &imported.notes[..] else {
            panic!("{:?}", imported.notes);
        };
        assert!(others.contains("\"service\"") && interval.contains("interval 0"));
    }

    #[test]
    fn what_cannot_be_converted_is_told_with_its_place() {
        for (text, expected) in [
            ("a: !x 5", "herald.yml:1: expected quotes"),
            ("- 1", "herald.yml: a list: expected Herald's configuration"),
            ("port: 5555", "herald.yml.plugins: expected a list"),
            ("plugins: []", "herald.yml.plugins: expected a plugin"),
            (
                "plugins: [{herald_plugin_name: my_own}]",
                "herald_plugin_name: \"my_own\": expected herald_http",
            ),
            (
                "plugins: [{herald_plugin_name: herald_file, file_path: f, thresholds_metric: lambda, thresholds: [{pct: 1}]}]",
                "herald.yml: agent_check[0].plugins[0].thresholds_metric: \"lambda\": at 1",
            ),
        ] {
            let faults = convert(text).expect_err(text);
            assert!(faults.contains(expected), "{faults}");
        }
    }
}
