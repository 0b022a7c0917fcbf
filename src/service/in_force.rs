//! Settings that change the behaviour of a service at the moment: limits, faults and the clock, in words for people.

use super::clock::{Clock, timestamp};
use super::config::Config;
use super::faults::{FaultInForce, Faults};
use crate::text::{counted, human_bytes};

/// Limits, faults and clock of a service at one moment.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    /// Limits in words; empty without any.
    pub limits: Vec<String>,
    pub faults: Vec<FaultInForce>,
    /// Time and speed of a clock that was changed; `None` if it is that of the system.
    pub clock: Option<String>,
}

impl InForce {
    pub(super) fn of(config: &Config, faults: &Faults) -> Self {
        InForce { limits: limits(config), faults: faults.in_force(), clock: clock(&config.clock) }
    }

    /// Returns a line each on limits, faults and the clock.
    pub(super) fn lines(&self) -> Vec<String> {
        let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join("; ") };
        let faults: Vec<String> = self.faults.iter().map(|fault| fault.text.clone()).collect();
        vec![
            format!("limits: {}", list(&self.limits)),
            format!("faults: {}", list(&faults)),
            format!("clock: {}", self.clock.as_deref().unwrap_or("that of the system")),
        ]
    }
}

fn limits(config: &Config) -> Vec<String> {
    let mut limits = Vec::new();
    if config.rate_limit > 0 {
        limits.push(format!("{} per minute and key", counted(config.rate_limit.into(), "request")));
    }
    if config.bulk_limit > 0 {
        limits.push(format!("{} per minute and key", counted(config.bulk_limit.into(), "bulk job")));
    }
    if config.max_upload_bytes < u64::MAX {
        limits.push(format!("uploads of {}", human_bytes(config.max_upload_bytes)));
    }
    if config.max_upload_rows < u64::MAX {
        limits.push(format!("uploads of {}", counted(config.max_upload_rows, "row")));
    }
    limits
}

fn clock(clock: &Clock) -> Option<String> {
    let speed = clock.changed_speed()?;
    let pace = match speed {
        1.0 => String::new(),
        0.0 => ", stopped".to_owned(),
        speed => format!(", {speed} times as fast as the system's"),
    };
    Some(format!("{}{pace}", timestamp(clock.now())))
}
