//! Schedules in the database.

use redb::{ReadableDatabase, ReadableTable};

use super::database::Store;
use super::tables::{Error, SCHEDULES, read_row, write_row};
use crate::service::schedules::Schedule;

impl Store {
    /// Returns all schedules, oldest first.
    pub(in crate::service) fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        let read = self.database.begin_read()?;
        let mut schedules = Vec::new();
        for row in read.open_table(SCHEDULES)?.iter()? {
            schedules.push(serde_json::from_slice::<Schedule>(row?.1.value())?);
        }
        schedules.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)));
        Ok(schedules)
    }

    /// Returns a schedule; `None` if there is none with this id.
    pub(in crate::service) fn schedule(&self, id: &str) -> Result<Option<Schedule>, Error> {
        let read = self.database.begin_read()?;
        let row = read.open_table(SCHEDULES)?.get(id)?;
        Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
    }

    /// Adds a schedule, or replaces the one with its id.
    pub(in crate::service) fn put_schedule(&self, schedule: &Schedule) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_row(&write, SCHEDULES, &schedule.id, schedule)?;
        Ok(write.commit()?)
    }

    /// Replaces a schedule in one transaction and returns the new one; `None` if there is none with this id.
    pub(in crate::service) fn change_schedule(
        &self,
        id: &str,
        change: impl FnOnce(Schedule) -> Schedule,
    ) -> Result<Option<Schedule>, Error> {
        let write = self.database.begin_write()?;
        let Some(schedule) = read_row(&write, SCHEDULES, id)? else { return Ok(None) };
        let schedule = change(schedule);
        write_row(&write, SCHEDULES, id, &schedule)?;
        write.commit()?;
        Ok(Some(schedule))
    }

    /// Deletes a schedule and returns it; `None` if there is none with this id.
    pub(in crate::service) fn remove_schedule(&self, id: &str) -> Result<Option<Schedule>, Error> {
        let write = self.database.begin_write()?;
        let removed = read_row(&write, SCHEDULES, id)?;
        write.open_table(SCHEDULES)?.remove(id)?;
        write.commit()?;
        Ok(removed)
    }
}
