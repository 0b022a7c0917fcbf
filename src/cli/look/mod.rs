//! First rows and statistics for `head`, `stats` and `convert --preview`: as tables that fit the terminal, as JSON and as
//! a page.

mod args;
mod cells;
mod grid;
mod page;
mod statistics;

pub(super) use args::{HEAD_EXAMPLES, HeadArgs, HeadFormat, LookArgs, STATS_EXAMPLES, StatsArgs};
pub(super) use cells::{FirstRows, read_first_rows};
pub(super) use grid::Grid;
pub(super) use page::{accuracy, statistics_page};
pub(super) use statistics::{json_of, statistics_grid};
