//! The options of object stores: credentials and endpoints from the environment, as the tools of the stores name them.

use std::ffi::OsString;

/// Collects the options of object stores from the environment: every `AWS_`, `GOOGLE_` and `AZURE_` variable that is
/// not empty, with its name in lower case. `AWS_ENDPOINT_URL_S3` takes precedence over `AWS_ENDPOINT_URL`, as in the
/// AWS tools.
pub(super) fn object_options(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?.to_ascii_lowercase(), value.into_string().ok()?)))
        .filter(|(name, value)| {
            let ours = ["aws_", "google_", "azure_"].iter().any(|prefix| name.starts_with(prefix));
            ours && !value.is_empty()
        })
        .collect();
    options.sort();
    if let Some(endpoint) =
        options.iter().find(|(name, _)| name == "aws_endpoint_url_s3").map(|(_, value)| value.clone())
    {
        options.retain(|(name, _)| name != "aws_endpoint_url" && name != "aws_endpoint_url_s3");
        options.push(("aws_endpoint_url".to_owned(), endpoint));
    }
    // The store's client refuses plain HTTP unless allowed. An explicit http:// endpoint is the user's consent.
    let plain = options.iter().any(|(name, value)| name.contains("endpoint") && value.starts_with("http://"));
    if plain && !options.iter().any(|(name, _)| name == "aws_allow_http") {
        options.push(("aws_allow_http".to_owned(), "true".to_owned()));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_stores_are_read_from_the_environment() {
        let options = |variables: &[(&str, &str)]| {
            object_options(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            options(&[("AWS_REGION", "eu-1"), ("HOME", "/"), ("AWS_PROFILE", "")]),
            [pair("aws_region", "eu-1")]
        );
        assert_eq!(
            options(&[("AWS_ENDPOINT_URL", "https://a"), ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")]),
            [pair("aws_endpoint_url", "http://127.0.0.1:9"), pair("aws_allow_http", "true")]
        );
    }
}
