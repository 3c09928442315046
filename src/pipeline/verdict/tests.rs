use super::*;

fn answer(status: u16, body: &str) -> Answer<'_> {
    let content_type = Some("application/json");
    Answer {
        status,
        retry_after: None,
        date: None,
        content_type,
        body: body.as_bytes(),
    }
}

fn verdict(status: u16, body: &str) -> Verdict {
    classify(&answer(status, body), 0)
}

const MISSING_HEADERS: &str =
    r#"{"error": {"code": "400001", "message": "Invalid request", "reason": "headers missing"}}"#;

#[test]
fn every_status_has_its_row() {
    assert_eq!(verdict(201, ""), Verdict::Stored);
    for status in [400, 409, 413, 422] {
        assert!(matches!(verdict(status, ""), Verdict::Refused { status: s, .. } if s == status));
    }
    for status in [401, 403, 404] {
        assert!(
            matches!(verdict(status, ""), Verdict::Misconfigured { status: s, .. } if s == status)
        );
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        let Verdict::Unwell {
            status: Some(s), ..
        } = verdict(status, "")
        else {
            panic!("{status}")
        };
        assert_eq!(s, status);
    }
    for status in [
        100, 200, 202, 204, 301, 302, 307, 402, 405, 407, 418, 600, 999,
    ] {
        assert!(matches!(verdict(status, ""), Verdict::NotLeek { status: s, .. } if s == status));
    }
}

#[test]
fn named_documents_are_refused_alone() {
    let body = r#"{"success": 1, "failed": 2, "errors": [
        {"update": {"_index": "i", "_id": "a", "status": 400,
                    "error": {"type": "mapper_parsing_exception", "reason": "failed\nto parse"}}},
        {"index": {"_id": "b", "status": 409, "error": "conflict"}}]}"#;
    let Verdict::Partial { refused } = verdict(400, body) else {
        panic!()
    };
    let of = |id: &str, reason: &str| RefusedDocument {
        id: id.into(),
        reason: reason.into(),
    };
    assert_eq!(
        refused,
        [
            of("a", "400: mapper_parsing_exception: failed to parse"),
            of("b", "409: conflict")
        ]
    );
}

#[test]
fn an_unnamed_failure_halves() {
    for body in [
        r#"{"success": 1, "failed": 1, "errors": []}"#,
        r#"{"success": 1, "failed": 1, "errors": [{"update": {"status": 400}}]}"#,
        r#"{"success": 1, "failed": 1, "errors": [{"update": {"_id": 7}}]}"#,
        r#"{"success": 1, "failed": 2, "errors": [{"update": {"_id": "a"}}]}"#,
        r#"{"success": 1, "failed": 2, "errors": [{"update": {"_id": "a"}}, 3, null, "x"]}"#,
        r#"{"success": 1, "failed": 2, "errors": [{"update": {"_id": "#,
        r#"[]"#,
        "nonsense",
    ] {
        assert!(
            matches!(verdict(400, body), Verdict::Refused { .. }),
            "{body}"
        );
    }
}

#[test]
fn a_busy_index_is_not_a_bad_document() {
    let body =
        r#"{"failed": 1, "errors": [{"update": {"_id": "a", "status": 429, "error": "busy"}}]}"#;
    assert!(matches!(
        verdict(400, body),
        Verdict::Unwell {
            status: Some(400),
            ..
        }
    ));
}

#[test]
fn missing_headers_and_plain_http_are_for_a_person_to_mend() {
    assert!(matches!(
        verdict(400, MISSING_HEADERS),
        Verdict::Misconfigured { .. }
    ));
    let Verdict::Misconfigured { reason, .. } = verdict(
        400,
        "<html>The plain HTTP request was sent to HTTPS port</html>",
    ) else {
        panic!()
    };
    assert!(reason.contains("https://"), "{reason}");
}

#[test]
fn reasons_say_what_came_and_what_to_do() {
    let shown = |status, body| match verdict(status, body) {
        Verdict::Misconfigured { reason, .. } | Verdict::NotLeek { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    let no_app = r#"{"error": {"code": "404001", "message": "Application does not exist"}}"#;
    assert_eq!(
        shown(404, no_app),
        "404: 404001: Application does not exist; the application does not exist: check org_name and app_name, or create it in Leek"
    );
    assert!(shown(404, "<html>nginx</html>").contains("path prefix in api_url"));
    assert!(shown(401, "").contains("app_key"));
    assert!(shown(302, "").contains("redirects are not followed"));
    assert!(shown(200, "<html>Log in</html>").contains("captive portal"));
}

#[test]
fn foreign_text_is_short_and_plain() {
    let long = format!("a\u{1b}[31mred\r\n\0{}", "ü".repeat(5000));
    let Verdict::Refused { reason, .. } = verdict(400, &long) else {
        panic!()
    };
    assert!(reason.starts_with("400: a [31mred ü"), "{reason}");
    assert!(
        reason.ends_with("ü…") && reason.chars().count() < 210,
        "{reason}"
    );
    assert!(!reason.chars().any(char::is_control));
}

#[test]
fn retry_after_is_heard() {
    let answer = Answer {
        retry_after: Some("7"),
        ..answer(503, "")
    };
    let Verdict::Unwell { retry_after, .. } = classify(&answer, 0) else {
        panic!()
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn a_probe_wants_200_and_no_page() {
    assert_eq!(classify_probe(&answer(200, "\"ok\""), 0), Ok(()));
    assert_eq!(classify_probe(&answer(200, ""), 0), Ok(()));
    assert!(matches!(
        classify_probe(&answer(201, ""), 0),
        Err(Verdict::NotLeek { .. })
    ));
    assert!(matches!(
        classify_probe(&answer(200, " <html>"), 0),
        Err(Verdict::NotLeek { .. })
    ));
    assert!(matches!(
        classify_probe(&answer(401, ""), 0),
        Err(Verdict::Misconfigured { .. })
    ));
}
