//! Sessions of interactive workflows: chains of blocks to which a client adds one after the other. Each block is a run of
//! its own over the output of its parent; a session knows which. It starts nothing; `routes::interactive` does.
//!
//! Sessions live as long as the service. Their runs are stored as all runs are.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use super::rows::ResultFormat;
use crate::api::{Block, Edge, Graph, RunId};

/// Sessions that are remembered; the oldest are forgotten. By eye: some megabytes.
const MAX_SESSIONS: usize = 1000;

/// A session: its blocks in the order in which they were added, the source first.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Order of the sessions.
    number: u64,
    pub blocks: Vec<SessionBlock>,
    /// Formats of the results of every block.
    pub formats: Vec<ResultFormat>,
    pub is_finished: bool,
}

/// A block of a session.
#[derive(Clone, Debug)]
pub(super) struct SessionBlock {
    pub id: String,
    pub name: String,
    pub specs: Map<String, Value>,
    /// Block whose rows it reads; `None` for the source.
    pub parent: Option<String>,
    /// Its run; `None` until its parent has completed.
    pub run: Option<RunId>,
    /// Reason why no run was started.
    pub error: Option<String>,
}

/// All sessions, by the id of the first run.
#[derive(Default)]
pub(super) struct Sessions(Mutex<(u64, HashMap<String, Session>)>);

impl Sessions {
    /// Adds a session with its source.
    pub(super) fn add(&self, id: &RunId, source: SessionBlock, formats: Vec<ResultFormat>) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, sessions) = &mut *guard;
        if sessions.len() >= MAX_SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.number).map(|(id, _)| id.clone())
        {
            sessions.remove(&oldest);
        }
        *next += 1;
        let session = Session { number: *next, blocks: vec![source], formats, is_finished: false };
        sessions.insert(id.0.clone(), session);
    }

    /// Returns a copy of a session; `None` if there is none with this id.
    pub(super) fn get(&self, id: &str) -> Option<Session> {
        self.change(id, |session| session.clone())
    }

    /// Changes a session; `None` if there is none with this id.
    pub(super) fn change<T>(&self, id: &str, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1.get_mut(id).map(change)
    }

    /// Forgets all sessions.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }
}

impl Session {
    pub(super) fn block(&self, id: &str) -> Option<&SessionBlock> {
        self.blocks.iter().find(|block| block.id == id)
    }

    /// Returns the chain from the source to a block as a graph, and with it further blocks, each the parent of the next.
    pub(super) fn chain(&self, to: &str, more: &[SessionBlock]) -> Graph {
        let mut chain: Vec<&SessionBlock> = more.iter().rev().collect();
        let mut next = self.block(to);
        while let Some(block) = next {
            chain.push(block);
            next = block.parent.as_deref().and_then(|parent| self.block(parent));
        }
        chain.reverse();
        let blocks = chain.iter().enumerate().map(|(at, block)| Block {
            sequence_number: at as i64 + 1,
            block_type: if at == 0 { "io" } else { "local" }.to_owned(),
            block_name: block.name.clone(),
            block_id: Some(block.id.clone()),
            specs: block.specs.clone(),
        });
        let edges = chain.windows(2).map(|pair| Edge {
            from_block_id: pair[0].id.clone(),
            to_block_id: pair[1].id.clone(),
            condition: None,
        });
        Graph { blocks: blocks.collect(), edges: edges.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(id: &str, parent: Option<&str>) -> SessionBlock {
        SessionBlock {
            id: id.to_owned(),
            name: format!("{id}-name"),
            specs: Map::new(),
            parent: parent.map(str::to_owned),
            run: None,
            error: None,
        }
    }

    #[test]
    fn a_chain_leads_from_the_source_to_a_block() {
        let sessions = Sessions::default();
        let id = RunId("s".to_owned());
        sessions.add(&id, block("a", None), vec![ResultFormat::Csv]);
        for (id, parent) in [("b", "a"), ("c", "a"), ("d", "b")] {
            sessions.change("s", |session| session.blocks.push(block(id, Some(parent)))).unwrap();
        }
        let session = sessions.get("s").unwrap();
        let ids = |graph: Graph| graph.blocks.into_iter().map(|block| block.block_id.unwrap()).collect::<Vec<_>>();
        assert_eq!(ids(session.chain("d", &[])), ["a", "b", "d"]);
        assert_eq!(ids(session.chain("c", &[block("e", Some("c"))])), ["a", "c", "e"]);
        assert_eq!(session.chain("d", &[]).edges.len(), 2);
        assert!(sessions.get("t").is_none());
        for n in 0..MAX_SESSIONS {
            sessions.add(&RunId(format!("{n}")), block("a", None), Vec::new());
        }
        assert!(sessions.get("s").is_none() && sessions.get("0").is_some(), "the oldest is forgotten");
        sessions.clear();
        assert!(sessions.get("0").is_none());
    }
}
