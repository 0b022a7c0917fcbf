//! Tests of formats: the fields one by one, and drawn dates that chrono formats.

use chrono::{DateTime, FixedOffset, TimeZone};
use proptest::prelude::*;

use super::*;

fn read(format: &str, text: &str) -> Result<String, String> {
    let parts = TimeFormat::parse(format).unwrap().read(text).map_err(|error| error.to_string())?;
    let date = NaiveDate::default() + chrono::TimeDelta::days(parts.days.into());
    let time = chrono::NaiveTime::from_num_seconds_from_midnight_opt(
        (parts.nanos_of_day / 1_000_000_000) as u32,
        (parts.nanos_of_day % 1_000_000_000) as u32,
    );
    let offset = parts.offset.map_or(String::new(), |offset| format!("{offset:+}"));
    Ok(format!("{date} {}{offset}", time.unwrap()))
}

#[test]
fn fields_have_one_meaning() {
    const MISMATCH: &str = "the text does not match the format";
    const NO_DATE: &str = "there is no such date or time";
    for (format, text, expected) in [
        ("%d/%m/%Y", "31/01/2024", Ok("2024-01-31 00:00:00")),
        ("%d/%m/%Y", " 1/2/2024 ", Ok("2024-02-01 00:00:00")),
        ("%d/%m/%Y", "29/02/2023", Err(NO_DATE)),
        ("%d/%m/%Y", "31/04/2024", Err(NO_DATE)),
        ("%d/%m/%Y", "1/13/2024", Err(NO_DATE)),
        ("%d/%m/%Y", "00/01/2024", Err(NO_DATE)),
        ("%d/%m/%Y", "01/01/0000", Err(NO_DATE)),
        // A year of two digits is not the first century.
        ("%d/%m/%Y", "31/01/24", Err(MISMATCH)),
        ("%d/%m/%Y", "31/01/12024", Err(MISMATCH)),
        ("%d/%m/%Y", "031/01/2024", Err(MISMATCH)),
        ("%d/%m/%Y", "31/01/2024 12:00", Err(MISMATCH)),
        ("%d/%m/%Y", "", Err(MISMATCH)),
        ("%d/%m/%Y", "٣1/01/2024", Err(MISMATCH)),
        ("%d.%m.%y", "1.2.68", Ok("2068-02-01 00:00:00")),
        ("%d.%m.%y", "1.2.69", Ok("1969-02-01 00:00:00")),
        ("%d.%m.%y", "1.2.2024", Err(MISMATCH)),
        ("%d.%m.%y", "1.2.4", Err(MISMATCH)),
        // Fields without anything between them have all of their digits.
        ("%Y%m%d", "20240131", Ok("2024-01-31 00:00:00")),
        ("%Y%m%d", "2024121", Err(MISMATCH)),
        ("%d%m%Y", "1102020", Err(MISMATCH)),
        ("%Y-%j", "2024-366", Ok("2024-12-31 00:00:00")),
        ("%Y-%j", "2023-366", Err(NO_DATE)),
        ("%d %b %Y", "5 mar 2024", Ok("2024-03-05 00:00:00")),
        ("%d %B %Y", "5 MARCH 2024", Ok("2024-03-05 00:00:00")),
        ("%B %e, %Y", "May  5, 2024", Ok("2024-05-05 00:00:00")),
        ("%d %b %Y", "5 Mär 2024", Err(MISMATCH)),
        ("%a, %d %b %Y", "Sun, 04 Feb 2024", Ok("2024-02-04 00:00:00")),
        // A weekday is of the date.
        ("%a, %d %b %Y", "Mon, 04 Feb 2024", Err(NO_DATE)),
        ("%m/%d/%Y %I:%M %p", "1/31/2024 12:05 AM", Ok("2024-01-31 00:05:00")),
        ("%m/%d/%Y %I:%M %p", "1/31/2024 12:05 pm", Ok("2024-01-31 12:05:00")),
        ("%m/%d/%Y %I:%M %p", "1/31/2024 13:05 pm", Err(NO_DATE)),
        ("%Y-%m-%d %H", "2024-01-31 07", Ok("2024-01-31 07:00:00")),
        ("%Y-%m-%d %H:%M:%S", "2024-01-31 24:00:00", Err(NO_DATE)),
        ("%Y-%m-%d %H:%M:%S", "2024-06-30 23:59:60", Err(NO_DATE)),
        // A fraction, as in Python.
        ("%Y-%m-%d %H:%M:%S.%f", "2024-01-31 12:00:00.5", Ok("2024-01-31 12:00:00.500")),
        ("%Y-%m-%d %H:%M:%S,%f", "2024-01-31 12:00:00,123456789", Ok("2024-01-31 12:00:00.123456789")),
        ("%Y-%m-%d %H:%M:%S%.f", "2024-01-31 12:00:00", Ok("2024-01-31 12:00:00")),
        ("%Y-%m-%d %H:%M:%S%.3f", "2024-01-31 12:00:00.123", Ok("2024-01-31 12:00:00.123")),
        ("%Y-%m-%d %H:%M:%S%.3f", "2024-01-31 12:00:00.1234", Err(MISMATCH)),
        ("%Y-%m-%d %H:%M:%S.%f", "2024-01-31 12:00:00.1234567890", Err(MISMATCH)),
        ("%d/%b/%Y:%H:%M:%S %z", "31/Jan/2024:12:00:00 +0200", Ok("2024-01-31 12:00:00+7200")),
        ("%d/%b/%Y:%H:%M:%S %z", "31/Jan/2024:12:00:00 -01:30", Ok("2024-01-31 12:00:00-5400")),
        ("%FT%T%z", "2024-01-31T12:00:00Z", Ok("2024-01-31 12:00:00+0")),
        ("%FT%T%z", "2024-01-31T12:00:00+2", Err(MISMATCH)),
        ("%F %R %Z", "2024-01-31 12:00 UTC", Ok("2024-01-31 12:00:00+0")),
        // Names of zones have several meanings.
        ("%F %R %Z", "2024-01-31 12:00 EST", Err(MISMATCH)),
        ("%G-W%V-%u", "2024-W05-3", Ok("2024-01-31 00:00:00")),
        ("%d%%%m%%%Y", "31%01%2024", Ok("2024-01-31 00:00:00")),
        ("%d de %m de %Y", "31 de 01 de 2024", Ok("2024-01-31 00:00:00")),
        ("%D", "01/31/24", Ok("2024-01-31 00:00:00")),
    ] {
        let found = read(format, text);
        match expected {
            Ok(expected) => assert_eq!(found.as_deref(), Ok(expected), "{format} of {text}"),
            Err(reason) => {
                assert!(found.as_ref().is_err_and(|e| e.starts_with(reason)), "{format} of {text}: {found:?}")
            }
        }
    }
}

#[test]
fn a_format_determines_a_date_and_a_whole_time() {
    for (format, message) in [
        ("%d/%m", "the format does not determine a date"),
        ("%H:%M", "the format does not determine a date"),
        ("", "the format does not determine a date"),
        ("%Y", "the format does not determine a date"),
        ("%B %Y", "the format does not determine a date"),
        ("%F %I:%M", "the format does not determine a time"),
        ("%F :%M", "the format does not determine a time"),
        ("%F %H:%M.%f", "the format does not determine a time"),
        ("%K", "the format has an unknown directive"),
        ("%d/%m/%", "the format has an unknown directive"),
        ("%s", "the format has a directive that cannot be parsed"),
        ("%+", "the format has a directive that cannot be parsed"),
        ("%F %T%#z", "the format has a directive that cannot be parsed"),
    ] {
        let error = TimeFormat::parse(format).expect_err(format);
        assert!(error.starts_with(message), "{format}: {error}");
    }
}

const FORMATS: &[&str] = &[
    "%d/%m/%Y %H:%M:%S.%f",
    "%Y%m%d%H%M%S%f",
    "%A, %e %B %Y %I:%M:%S%.9f %p",
    "%a %b %d %k:%M:%S.%f %Y",
    "%j of %Y, %T.%f",
    "%G-%V-%u %l:%M:%S %P.%f",
    "%C%y-%m-%dT%H:%M:%S.%f%:z",
    "%U %w %Y %T.%f",
    "%W %a %Y %T.%f",
    "%v %r.%f %z",
    "%c.%f",
];

proptest! {
    /// Times written by chrono are read as the same times.
    #[test]
    fn written_by_chrono_and_read(
        seconds in -62_135_510_400i64..253_402_214_400,
        nanos in 0u32..1_000_000_000,
        quarters in -56i32..57,
        format in 0..FORMATS.len(),
    ) {
        let zone = FixedOffset::east_opt(quarters * 900).unwrap();
        let time: DateTime<FixedOffset> = zone.from_utc_datetime(&DateTime::from_timestamp(seconds, nanos).unwrap().naive_utc());
        let text = time.format(FORMATS[format]).to_string();
        let parts = TimeFormat::parse(FORMATS[format]).unwrap().read(&text);
        let parts = parts.map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        let local = time.naive_local();
        let days = local.date().signed_duration_since(NaiveDate::default()).num_days();
        prop_assert_eq!(i64::from(parts.days), days, "{}", text);
        let nanos_of_day = u64::from(local.num_seconds_from_midnight()) * 1_000_000_000 + u64::from(nanos);
        prop_assert_eq!(parts.nanos_of_day, nanos_of_day, "{}", text);
        if FORMATS[format].ends_with('z') {
            prop_assert_eq!(parts.offset, Some(quarters * 900));
        }
    }

    #[test]
    fn no_text_breaks_a_format(format in "(%[a-zA-Z%.:]|[0-9 /é]){0,6}", text in "[0-9a-zA-Zé /:.+-]{0,24}") {
        if let Ok(format) = TimeFormat::parse(&format) {
            let _ = format.read(&text);
        }
    }
}
