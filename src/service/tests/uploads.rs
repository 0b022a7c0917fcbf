//! Uploads: stored byte for byte, or rejected without a file left behind.

use reqwest::Method;
use reqwest::multipart::{Form, Part};

use super::{JsonResponse, Local};

async fn send(local: &Local, form: Form) -> JsonResponse {
    let request = local.request(Method::POST, "/storage/csv/upload").multipart(form);
    JsonResponse::read(request.send().await.unwrap()).await
}

fn part(name: &str, content: &[u8]) -> Part {
    Part::bytes(content.to_vec()).file_name(name.to_owned())
}

fn stored_files(local: &Local) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(local.data_dir().join("uploads")).unwrap();
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn a_file_is_stored_byte_for_byte() {
    let local = Local::start().await;
    let content: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
    let uploaded = send(&local, Form::new().text("note", "x").part("file", part("Big.NDJSON", &content))).await.ok();
    assert_eq!(uploaded["handle_id"].as_str().unwrap().len(), 36);
    assert_eq!(stored_files(&local), [content]);
}

#[tokio::test]
async fn rejected_uploads_leave_no_file() {
    let local = Local::start_with(|config| config.max_upload_bytes = 1000).await;
    for name in ["a.txt", "a", "csv", "a.csv.gz", ""] {
        let text = send(&local, Form::new().part("file", part(name, b"a\n1\n"))).await.rejected(400);
        assert!(text.contains(".csv, .json, .jsonl, .ndjson"), "{name}: {text}");
    }
    let two = Form::new().part("file", part("a.csv", b"a\n")).part("more", part("b.csv", b"b\n"));
    assert!(send(&local, two).await.rejected(422).contains("exactly one file part"));
    let other_name = Form::new().part("data", part("a.csv", b"a\n"));
    assert!(send(&local, other_name).await.rejected(422).contains("body.file"));
    assert!(send(&local, Form::new().text("file", "a\n1\n")).await.rejected(422).contains("body.file"));
    let large = send(&local, Form::new().part("file", part("a.csv", &[b'x'; 300_000]))).await;
    assert!(large.rejected(413).contains("1000 bytes"));
    let no_form = local.request(Method::POST, "/storage/csv/upload").body("a,b\n").send().await.unwrap();
    assert!(JsonResponse::read(no_form).await.rejected(422).contains("body.file"));
    let cut = local
        .request(Method::POST, "/storage/csv/upload")
        .header("content-type", "multipart/form-data; boundary=XX")
        .body("--XX\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\nx,y\n");
    assert!(JsonResponse::read(cut.send().await.unwrap()).await.rejected(400).contains("form"));
    assert!(stored_files(&local).is_empty());
}
