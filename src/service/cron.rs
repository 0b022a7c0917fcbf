//! Cron expressions of five fields in a time zone: their grammar, and the next time at which one is due. Knows no clock.

use chrono::{
    DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

/// Years that are searched for the next time. A 29 February that is also a certain weekday is at most 40 years away.
const MAX_YEARS: u32 = 41;

/// Set of all hours of a day.
const ALL_HOURS: u64 = (1 << 24) - 1;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A parsed expression: the values of each field as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// True if the expression is for all hours, however it is written: then an hour that a change of the clock repeats is
    /// not left out.
    is_every_hour: bool,
    /// True if both the days and the weekdays are restricted: then either suffices.
    is_either_day: bool,
}

impl Cron {
    /// Parses `MINUTE HOUR DAY MONTH WEEKDAY`: numbers, names of months and weekdays, `*`, ranges, steps, and lists of
    /// these. 7 is Sunday as well as 0.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("a cron expression has 5 fields, not {}", fields.len()));
        };
        let of_weekdays = field("weekday", weekdays, 0, 7, &WEEKDAYS, 0)?;
        let hours = field("hour", hours, 0, 23, &[], 0)?;
        let cron = Cron {
            minutes: field("minute", minutes, 0, 59, &[], 0)?,
            hours,
            days: field("day", days, 1, 31, &[], 0)?,
            months: field("month", months, 1, 12, &MONTHS, 1)?,
            weekdays: (of_weekdays | of_weekdays >> 7) & 0x7f,
            is_every_hour: hours == ALL_HOURS,
            is_either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        };
        let start = DateTime::<Utc>::UNIX_EPOCH;
        match cron.next(Tz::UTC, start) {
            Some(_) => Ok(cron),
            None => Err("the expression never comes true".to_owned()),
        }
    }

    /// Returns the first time after `after` at which the expression is due by the clocks of `zone`; `None` beyond the
    /// calendar. A time that a change of the clock leaves out is due when the change is over, and one that it repeats is due
    /// once, unless the expression is for every hour.
    pub(super) fn next(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let last = after.checked_add_months(Months::new(12 * MAX_YEARS))?;
        let start = after.with_second(0)?.with_nanosecond(0)?.checked_add_signed(TimeDelta::minutes(1))?;
        if self.is_every_hour { self.next_minute(zone, start, last) } else { self.next_by_clock(zone, after, last) }
    }

    /// Returns the first minute from `at` on, each of them once, also where clocks show one twice.
    fn next_minute(&self, zone: Tz, mut at: DateTime<Utc>, last: DateTime<Utc>) -> Option<DateTime<Utc>> {
        while at < last {
            let local = at.with_timezone(&zone);
            let date = local.date_naive();
            if !has(self.months, date.month()) || !self.is_day(date) {
                // Never back, whatever the clocks of the zone do.
                let midnight = instant(zone, start_of(date.checked_add_days(Days::new(1))?))?;
                at = midnight.max(at.checked_add_signed(TimeDelta::minutes(1))?);
            } else if !has(self.minutes, local.minute()) {
                at = at.checked_add_signed(TimeDelta::minutes(1))?;
            } else {
                return Some(at);
            }
        }
        None
    }

    /// Returns the first time after `after` that clocks show, each of them once.
    fn next_by_clock(&self, zone: Tz, after: DateTime<Utc>, last: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut at = after.with_timezone(&zone).naive_local().with_second(0)?.with_nanosecond(0)?;
        let last = last.naive_utc();
        while at < last {
            let date = at.date();
            if !has(self.months, date.month()) {
                at = start_of(date.with_day(1)?.checked_add_months(Months::new(1))?);
            } else if !self.is_day(date) {
                at = start_of(date.checked_add_days(Days::new(1))?);
            } else if !has(self.hours, at.hour()) {
                at = at.with_minute(0)?.checked_add_signed(TimeDelta::hours(1))?;
            } else if !has(self.minutes, at.minute()) {
                at = at.checked_add_signed(TimeDelta::minutes(1))?;
            } else {
                let found = instant(zone, at)?;
                if found > after {
                    return Some(found);
                }
                at = at.checked_add_signed(TimeDelta::minutes(1))?;
            }
        }
        None
    }

    fn is_day(&self, date: NaiveDate) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().num_days_from_sunday());
        if self.is_either_day { day || weekday } else { day && weekday }
    }
}

/// Returns the first time at which clocks show `at`. For a time that they leave out it is the first one after that.
fn instant(zone: Tz, at: NaiveDateTime) -> Option<DateTime<Utc>> {
    // No clock has ever been set by more than a day.
    let found =
        (0..=24 * 60).find_map(|minutes| zone.from_local_datetime(&(at + TimeDelta::minutes(minutes))).earliest());
    found.map(|time| time.with_timezone(&Utc))
}

fn start_of(date: NaiveDate) -> NaiveDateTime {
    date.and_time(NaiveTime::MIN)
}

fn has(set: u64, value: u32) -> bool {
    set >> value & 1 == 1
}

/// Parses one field to the set of its values. `names` begin at the value `first`.
fn field(what: &str, text: &str, min: u32, max: u32, names: &[&str], first: u32) -> Result<u64, String> {
    let wrong =
        || format!("'{text}' is no {what}: expected numbers from {min} to {max}, such as *, 5, 1-5, */10 or 1,2");
    let value = |text: &str| {
        let lower = text.to_ascii_lowercase();
        let named = names.iter().position(|name| *name == lower).map(|at| at as u32 + first);
        let plain = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        named.or_else(plain).filter(|value| (min..=max).contains(value)).ok_or_else(wrong)
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => {
                let step = step.parse::<u32>().ok().filter(|step| *step > 0).ok_or_else(wrong)?;
                (range, Some(step))
            }
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((from, to)) => (value(from)?, value(to)?),
            // `5/10` means from 5 on.
            None => (value(range)?, if step.is_some() { max } else { value(range)? }),
        };
        if from > to {
            return Err(wrong());
        }
        for value in (from..=to).step_by(step.unwrap_or(1) as usize) {
            set |= 1 << value;
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(cron: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
        let (cron, zone): (Cron, Tz) = (Cron::parse(cron).unwrap(), zone.parse().unwrap());
        let mut after: DateTime<Utc> = after.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..n {
            after = cron.next(zone, after).unwrap();
            found.push(after.format("%Y-%m-%dT%H:%M").to_string());
        }
        found
    }

    #[test]
    fn fields_select_times() {
        assert_eq!(
            times("*/20 * * * *", "UTC", "2026-11-30T23:39:59Z", 3),
            ["2026-11-30T23:40", "2026-12-01T00:00", "2026-12-01T00:20"]
        );
        assert_eq!(
            times("0 9 * * MON-FRI", "UTC", "2026-11-27T09:00:00Z", 2),
            ["2026-11-30T09:00", "2026-12-01T09:00"]
        );
        assert_eq!(
            times("30 8-10/2 * jan,3 *", "UTC", "2026-12-31T00:00:00Z", 3),
            ["2027-01-01T08:30", "2027-01-01T10:30", "2027-01-02T08:30"]
        );
        assert_eq!(times("0 0 29 2 *", "UTC", "2026-11-30T00:00:00Z", 2), ["2028-02-29T00:00", "2032-02-29T00:00"]);
        assert_eq!(
            times("55/2 23 31 12 *", "UTC", "2026-11-30T00:00:00Z", 3),
            ["2026-12-31T23:55", "2026-12-31T23:57", "2026-12-31T23:59"]
        );
        assert_eq!(
            times("0 0 * * 7", "UTC", "2026-11-30T00:00:00Z", 1),
            times("0 0 * * sun", "UTC", "2026-11-30T00:00:00Z", 1)
        );
        // Days and weekdays, both restricted: either suffices.
        assert_eq!(
            times("0 0 1 * 3", "UTC", "2026-11-30T00:00:00Z", 3),
            ["2026-12-01T00:00", "2026-12-02T00:00", "2026-12-09T00:00"]
        );
    }

    #[test]
    fn times_are_those_of_the_zone() {
        assert_eq!(times("0 9 * * *", "Asia/Kolkata", "2026-11-30T00:00:00Z", 1), ["2026-11-30T03:30"]);
        // Berlin leaves out 2:00 to 3:00 on 29 March 2026, and repeats it on 25 October.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00", "2026-03-30T00:30"]
        );
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30", "2026-10-26T01:30"]
        );
        // However all hours are written.
        for hours in ["*/1", "0-23", "0-11,12-23", "0/1"] {
            assert_eq!(
                times(&format!("0 {hours} * * *"), "Europe/Berlin", "2026-10-24T23:45:00Z", 3),
                ["2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00"],
                "{hours}"
            );
        }
        assert_eq!(
            times("0,30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 6),
            [
                "2026-10-25T00:00",
                "2026-10-25T00:30",
                "2026-10-25T01:00",
                "2026-10-25T01:30",
                "2026-10-25T02:00",
                "2026-10-25T02:30"
            ]
        );
    }

    #[test]
    fn wrong_expressions_are_refused() {
        for (text, expected) in [
            ("* * * *", "5 fields, not 4"),
            ("60 * * * *", "'60' is no minute"),
            ("* 24 * * *", "'24' is no hour"),
            ("* * 0 * *", "'0' is no day"),
            ("* * * 13 *", "'13' is no month"),
            ("* * * * 8", "'8' is no weekday"),
            ("*/0 * * * *", "is no minute"),
            ("5-1 * * * *", "is no minute"),
            ("+5 * * * *", "is no minute"),
            ("1,,2 * * * *", "is no minute"),
            ("* * * fri *", "'fri' is no month"),
            ("0 0 30 2 *", "never comes true"),
            ("@daily", "5 fields, not 1"),
        ] {
            let error = Cron::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
