//! Dates and times as people write them, parsed by a format in the words of `strftime`: `%d/%m/%Y %H:%M`.
//!
//! `chrono` parses the format and resolves the fields to a date; the scanner between them is our own, because chrono's
//! takes `24` for the year 24 and a fraction `5` for five nanoseconds. Each field has one width, or is as long as it can
//! be where something else than a digit follows, so that no text has two meanings.

use std::fmt;

use chrono::format::{Fixed, Item, Numeric, ParseError, Parsed, StrftimeItems};
use chrono::{Datelike, NaiveDate, Timelike, Weekday};

use super::eval_error::EvalError;

/// A parsed format.
#[derive(Clone, Debug)]
pub struct TimeFormat {
    /// Text of the format, as written.
    text: Box<str>,
    pieces: Box<[Piece]>,
}

/// Parts of a parsed date and time.
pub(super) struct DateTimeParts {
    /// Days since 1970-01-01, negative before.
    pub days: i32,
    /// Nanoseconds since midnight.
    pub nanos_of_day: u64,
    /// Seconds ahead of UTC; `None` if the text has no offset.
    pub offset: Option<i32>,
}

/// One directive of a format, or the text between two.
#[derive(Clone, Debug)]
struct Piece {
    item: Item<'static>,
    /// True if other digits stand directly before or behind, so that the field must have all of its digits.
    beside_digits: bool,
}

impl PartialEq for TimeFormat {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TimeFormat {}

impl fmt::Display for TimeFormat {
    /// Writes the text of the format.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Hint that lists the usual directives.
pub(super) const DIRECTIVES: &str = "the directives are those of strftime: %Y year, %y its last two digits, %m month, %d day, %b or %B name of the month, %j day of the year, %H hour, %I with %p hour of twelve, %M minute, %S second, %f fraction of a second, %z offset such as +02:00, %% a percent sign";

/// The last two-digit year of this century; 69 is 1969, as in POSIX and Python.
const LAST_SHORT_YEAR: i32 = 68;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl TimeFormat {
    /// Parses a format. Fails for a directive that is unknown or has no meaning here, and if the fields do not determine
    /// a date, or the time is incomplete.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let items = StrftimeItems::new(text).parse_to_owned();
        let items = items.map_err(|_| "the format has an unknown directive")?;
        let mut pieces = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let supported = match item {
                Item::Numeric(numeric, _) => {
                    !matches!(numeric, Numeric::Timestamp | Numeric::Quarter | Numeric::Internal(_))
                }
                Item::Fixed(fixed) => !matches!(
                    fixed,
                    Fixed::RFC2822
                        | Fixed::RFC3339
                        | Fixed::TimezoneOffsetDoubleColon
                        | Fixed::TimezoneOffsetTripleColon
                        | Fixed::Internal(_)
                ),
                Item::Error => false,
                _ => true,
            };
            if !supported {
                return Err("the format has a directive that cannot be parsed");
            }
            let are_digits = |other: &Item<'_>, at: fn(&str) -> Option<char>| match other {
                Item::Numeric(..) => true,
                Item::Literal(text) => at(text).is_some_and(|c| c.is_ascii_digit()),
                Item::OwnedLiteral(text) => at(text).is_some_and(|c| c.is_ascii_digit()),
                _ => false,
            };
            let behind = items.get(i + 1).is_some_and(|next| are_digits(next, |text| text.chars().next()));
            let before = i.checked_sub(1).is_some_and(|i| are_digits(&items[i], |text| text.chars().next_back()));
            pieces.push(Piece { item: item.clone(), beside_digits: before || behind });
        }
        let format = TimeFormat { text: text.into(), pieces: pieces.into() };
        format.check()?;
        Ok(format)
    }

    /// Checks that the fields determine a date, and a time if there are any of it, by those of a sample.
    fn check(&self) -> Result<(), &'static str> {
        let sample = NaiveDate::from_ymd_opt(2001, 5, 17).and_then(|date| date.and_hms_opt(13, 14, 15));
        let sample = sample.expect("the sample is a date");
        let mut parsed = Parsed::new();
        for Piece { item, .. } in &self.pieces {
            let set = match item {
                Item::Numeric(numeric, _) => {
                    let value = match numeric {
                        Numeric::Year => sample.year(),
                        Numeric::YearDiv100 => sample.year() / 100,
                        Numeric::YearMod100 => sample.year() % 100,
                        Numeric::IsoYear => sample.iso_week().year(),
                        Numeric::IsoYearDiv100 => sample.iso_week().year() / 100,
                        Numeric::IsoYearMod100 => sample.iso_week().year() % 100,
                        Numeric::Month => sample.month() as i32,
                        Numeric::Day => sample.day() as i32,
                        Numeric::WeekFromSun => week(sample.date(), Weekday::Sun),
                        Numeric::WeekFromMon => week(sample.date(), Weekday::Mon),
                        Numeric::IsoWeek => sample.iso_week().week() as i32,
                        Numeric::NumDaysFromSun => sample.weekday().num_days_from_sunday() as i32,
                        Numeric::WeekdayFromMon => sample.weekday().number_from_monday() as i32,
                        Numeric::Ordinal => sample.ordinal() as i32,
                        Numeric::Hour => sample.hour() as i32,
                        Numeric::Hour12 => sample.hour12().1 as i32,
                        Numeric::Minute => sample.minute() as i32,
                        Numeric::Second => sample.second() as i32,
                        _ => 0,
                    };
                    set_number(&mut parsed, numeric, value.into())
                }
                Item::Fixed(Fixed::ShortMonthName | Fixed::LongMonthName) => parsed.set_month(sample.month().into()),
                Item::Fixed(Fixed::ShortWeekdayName | Fixed::LongWeekdayName) => parsed.set_weekday(sample.weekday()),
                Item::Fixed(Fixed::LowerAmPm | Fixed::UpperAmPm) => parsed.set_ampm(true),
                Item::Fixed(Fixed::Nanosecond | Fixed::Nanosecond3 | Fixed::Nanosecond6 | Fixed::Nanosecond9) => {
                    parsed.set_nanosecond(0)
                }
                _ => Ok(()),
            };
            set.map_err(|_| "the fields of the format contradict each other")?;
        }
        match resolve(parsed) {
            Ok(_) => Ok(()),
            Err(Unresolved::Date) => {
                Err("the format does not determine a date: it needs a year, and a month and a day or a day of the year")
            }
            Err(Unresolved::Time) => Err(
                "the format does not determine a time: minutes need an hour, %I needs %p, and a fraction needs seconds",
            ),
        }
    }

    /// Parses `text` as a date and a time; midnight if the format has no time.
    pub(super) fn read(&self, text: &str) -> Result<DateTimeParts, EvalError> {
        let mismatch = || EvalError::from(format!("the text does not match the format `{}`", self.text));
        let mut rest = text.trim();
        let mut parsed = Parsed::new();
        let mut offset_seconds = None;
        for piece in &self.pieces {
            let next = self.take(piece, rest, &mut parsed, &mut offset_seconds);
            rest = match next {
                Some(Ok(rest)) => rest,
                Some(Err(_)) => return Err(no_such_date()),
                None => return Err(mismatch()),
            };
        }
        if !rest.is_empty() {
            return Err(mismatch());
        }
        let (days, nanos_of_day) = resolve(parsed).map_err(|_| no_such_date())?;
        Ok(DateTimeParts { days, nanos_of_day, offset: offset_seconds })
    }

    /// Takes one piece from the front of `text` and returns the rest; `None` if it does not match, an error for a value out
    /// of range or one that contradicts another field.
    fn take<'t>(
        &self,
        piece: &Piece,
        text: &'t str,
        parsed: &mut Parsed,
        offset_seconds: &mut Option<i32>,
    ) -> Option<Result<&'t str, ParseError>> {
        let done = |set: Result<(), ParseError>, rest| Some(set.map(|()| rest));
        match &piece.item {
            Item::Literal(literal) => text.strip_prefix(literal).map(Ok),
            Item::OwnedLiteral(literal) => text.strip_prefix(&**literal).map(Ok),
            Item::Space(_) | Item::OwnedSpace(_) => {
                let rest = text.trim_start();
                (rest.len() < text.len()).then_some(Ok(rest))
            }
            Item::Numeric(Numeric::Nanosecond, _) => {
                let (nanos, rest) = fraction(text, None)?;
                done(parsed.set_nanosecond(nanos), rest)
            }
            Item::Numeric(numeric, pad) => {
                let (least, most) = match numeric {
                    Numeric::Year | Numeric::IsoYear => (4, 4),
                    Numeric::YearDiv100 | Numeric::YearMod100 | Numeric::IsoYearDiv100 | Numeric::IsoYearMod100 => {
                        (2, 2)
                    }
                    Numeric::NumDaysFromSun | Numeric::WeekdayFromMon => (1, 1),
                    Numeric::Ordinal => (1, 3),
                    _ => (1, 2),
                };
                // A space stands for the first digit of a field that is padded with spaces.
                let padded = *pad == chrono::format::Pad::Space && text.starts_with(' ');
                let (text, most) = if padded { (&text[1..], most - 1) } else { (text, most) };
                let least = if piece.beside_digits { most } else { least };
                let (value, rest) = digits(text, least, most)?;
                done(set_number(parsed, numeric, value), rest)
            }
            Item::Fixed(fixed) => match fixed {
                Fixed::ShortMonthName | Fixed::LongMonthName => {
                    let (month, rest) = name(text, &MONTHS)?;
                    done(parsed.set_month(month as i64 + 1), rest)
                }
                Fixed::ShortWeekdayName | Fixed::LongWeekdayName => {
                    let (day, rest) = name(text, &WEEKDAYS)?;
                    let weekday = Weekday::try_from(day as u8).expect("there are seven names");
                    done(parsed.set_weekday(weekday), rest)
                }
                Fixed::LowerAmPm | Fixed::UpperAmPm => {
                    let half = text.get(..2)?;
                    let is_pm = half.eq_ignore_ascii_case("pm");
                    (is_pm || half.eq_ignore_ascii_case("am")).then(|| parsed.set_ampm(is_pm).map(|()| &text[2..]))
                }
                // The point and the fraction may both be absent.
                Fixed::Nanosecond => match text.strip_prefix('.') {
                    Some(text) => {
                        let (nanos, rest) = fraction(text, None)?;
                        done(parsed.set_nanosecond(nanos), rest)
                    }
                    None => Some(Ok(text)),
                },
                Fixed::Nanosecond3 | Fixed::Nanosecond6 | Fixed::Nanosecond9 => {
                    let len = match fixed {
                        Fixed::Nanosecond3 => 3,
                        Fixed::Nanosecond6 => 6,
                        _ => 9,
                    };
                    let (nanos, rest) = fraction(text.strip_prefix('.')?, Some(len))?;
                    done(parsed.set_nanosecond(nanos), rest)
                }
                // Other names are of several zones, or of none, and would be wrong in silence.
                Fixed::TimezoneName => {
                    let utc = ["UTC", "GMT", "Z"].into_iter().find_map(|name| text.strip_prefix(name))?;
                    *offset_seconds = Some(0);
                    Some(Ok(utc))
                }
                _ => {
                    let (seconds, rest) = zone_offset(text)?;
                    *offset_seconds = Some(seconds);
                    Some(Ok(rest))
                }
            },
            Item::Error => None,
        }
    }
}

fn no_such_date() -> EvalError {
    "there is no such date or time, or its fields contradict each other".into()
}

/// The reason why fields are no date and time.
enum Unresolved {
    Date,
    Time,
}

/// Resolves the fields to days since 1970-01-01 and nanoseconds since midnight.
fn resolve(mut parsed: Parsed) -> Result<(i32, u64), Unresolved> {
    let of_date = |_: ParseError| Unresolved::Date;
    let century = |short: i32| if short > LAST_SHORT_YEAR { 19 } else { 20 };
    if let (Some(short), None, None) = (parsed.year_mod_100(), parsed.year(), parsed.year_div_100()) {
        parsed.set_year_div_100(century(short)).map_err(of_date)?;
    }
    if let (Some(short), None, None) = (parsed.isoyear_mod_100(), parsed.isoyear(), parsed.isoyear_div_100()) {
        parsed.set_isoyear_div_100(century(short)).map_err(of_date)?;
    }
    let date = parsed.to_naive_date().map_err(of_date)?;
    // Leap seconds and years beyond four digits are rejected, as in casts without a format.
    if !(1..=9999).contains(&date.year()) || parsed.second() == Some(60) {
        return Err(Unresolved::Date);
    }
    let days = date.signed_duration_since(NaiveDate::default()).num_days() as i32;
    let has_hour = parsed.hour_mod_12().is_some() || parsed.hour_div_12().is_some();
    if !has_hour && parsed.minute().is_none() && parsed.second().is_none() && parsed.nanosecond().is_none() {
        return Ok((days, 0));
    }
    if has_hour && parsed.minute().is_none() && parsed.second().is_none() {
        parsed.set_minute(0).map_err(|_| Unresolved::Time)?;
    }
    let time = parsed.to_naive_time().map_err(|_| Unresolved::Time)?;
    let nanos = u64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + u64::from(time.nanosecond());
    Ok((days, nanos))
}

/// Returns the week of the year, the first of which starts at the first `first` day.
fn week(date: NaiveDate, first: Weekday) -> i32 {
    let since = date.weekday().days_since(first) as i32;
    (date.ordinal() as i32 + 6 - since) / 7
}

fn set_number(parsed: &mut Parsed, numeric: &Numeric, value: i64) -> Result<(), ParseError> {
    match numeric {
        Numeric::Year => parsed.set_year(value),
        Numeric::YearDiv100 => parsed.set_year_div_100(value),
        Numeric::YearMod100 => parsed.set_year_mod_100(value),
        Numeric::IsoYear => parsed.set_isoyear(value),
        Numeric::IsoYearDiv100 => parsed.set_isoyear_div_100(value),
        Numeric::IsoYearMod100 => parsed.set_isoyear_mod_100(value),
        Numeric::Month => parsed.set_month(value),
        Numeric::Day => parsed.set_day(value),
        Numeric::WeekFromSun => parsed.set_week_from_sun(value),
        Numeric::WeekFromMon => parsed.set_week_from_mon(value),
        Numeric::IsoWeek => parsed.set_isoweek(value),
        Numeric::NumDaysFromSun => parsed.set_weekday(weekday_from_monday((value + 6) % 7)),
        Numeric::WeekdayFromMon if (1..=7).contains(&value) => parsed.set_weekday(weekday_from_monday(value - 1)),
        Numeric::Ordinal => parsed.set_ordinal(value),
        Numeric::Hour => parsed.set_hour(value),
        Numeric::Hour12 => parsed.set_hour12(value),
        Numeric::Minute => parsed.set_minute(value),
        Numeric::Second => parsed.set_second(value),
        Numeric::Nanosecond => parsed.set_nanosecond(value),
        // Out of the range of any field.
        _ => parsed.set_month(0),
    }
}

fn weekday_from_monday(day: i64) -> Weekday {
    Weekday::try_from(day as u8).unwrap_or(Weekday::Mon)
}

/// Takes `least` to `most` digits from the front of `text`.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let len = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if len < least || len == 0 {
        return None;
    }
    Some((text[..len].parse().ok()?, &text[len..]))
}

/// Takes the digits of a fraction of a second, `len` or up to nine, and returns the nanoseconds.
fn fraction(text: &str, len: Option<usize>) -> Option<(i64, &str)> {
    let (least, most) = len.map_or((1, 9), |len| (len, len));
    let (value, rest) = digits(text, least, most)?;
    let found = text.len() - rest.len();
    // Further digits are beyond nanoseconds, or beyond the length of the format.
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((value * 10i64.pow(9 - found as u32), rest))
}

/// Takes an English name, or its first three letters, in any case.
fn name<'t>(text: &'t str, names: &[&str]) -> Option<(usize, &'t str)> {
    let starts = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let whole = names.iter().position(|name| starts(name)).map(|i| (i, names[i].len()));
    let (i, len) = whole.or_else(|| names.iter().position(|name| starts(&name[..3])).map(|i| (i, 3)))?;
    Some((i, &text[len..]))
}

/// Takes `Z`, `+02:00` or `+0200`.
fn zone_offset(text: &str) -> Option<(i32, &str)> {
    let lens = match text.as_bytes() {
        [b'Z' | b'z', ..] => [1].iter(),
        [b'+' | b'-', ..] => [6, 5].iter(),
        _ => return None,
    };
    lens.into_iter().find_map(|&len| Some((offset(text.get(..len)?)??, &text[len..])))
}

/// Parses `Z`, `+02`, `+02:00` or `+0200` into seconds ahead of UTC. Empty text is `Some(None)`, other text `None`.
pub(super) fn offset(text: &str) -> Option<Option<i32>> {
    let (sign, rest) = match text.as_bytes() {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [b'+', ..] => (1, &text[1..]),
        [b'-', ..] => (-1, &text[1..]),
        _ => return None,
    };
    let digits: String = match rest.len() {
        5 if rest.as_bytes()[2] == b':' => rest.replacen(':', "", 1),
        2 => format!("{rest}00"),
        4 => rest.to_owned(),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours < 24 && minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60)))
}

#[cfg(test)]
#[path = "time_format_tests.rs"]
mod tests;
