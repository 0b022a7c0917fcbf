//! A workflow's graph: checked when it is made, and put in the order in which it runs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use uuid::Uuid;

use super::blocks::{self, RowType};
use super::location::Location;
use crate::api::{Block, Edge, Graph, ValidationError};

/// A graph that can run.
#[derive(Debug)]
pub(super) struct CheckedGraph {
    /// The graph, every block with an id.
    pub graph: Graph,
    /// Indices of the blocks as they run: each after those that feed it, ties by number.
    pub order: Vec<usize>,
    /// For each block those that feed it, by number.
    pub parents: Vec<Vec<usize>>,
    /// The blocks, their specs read.
    pub blocks: Vec<Box<dyn blocks::Block>>,
    /// The kind of each block's rows.
    pub rows: Vec<RowType>,
}

impl CheckedGraph {
    /// Index of the one block that nothing feeds.
    pub(super) fn source(&self) -> usize {
        self.order[0]
    }
}

/// Gives every block an id of ours where it has none or one that is not a UUID, and renames it in
/// the edges. Ids that stand twice are left for [`check`] to find.
pub(super) fn with_ids(mut graph: Graph) -> Graph {
    let mut renamed: HashMap<String, String> = HashMap::new();
    for block in &mut graph.blocks {
        match &block.block_id {
            Some(id) if Uuid::parse_str(id).is_ok() => {}
            Some(id) => {
                let new = renamed.entry(id.clone()).or_insert_with(|| Uuid::new_v4().to_string());
                block.block_id = Some(new.clone());
            }
            None => block.block_id = Some(Uuid::new_v4().to_string()),
        }
    }
    for edge in &mut graph.edges {
        for end in [&mut edge.from_block_id, &mut edge.to_block_id] {
            if let Some(new) = renamed.get(end) {
                *end = new.clone();
            }
        }
    }
    graph
}

/// Checks a graph that [`with_ids`] went over. `place` is where the graph stands in the request.
/// All independent problems are told at once, each naming its block.
pub(super) fn check(graph: Graph, place: &Location) -> Result<CheckedGraph, Vec<ValidationError>> {
    let mut errors = Vec::new();
    let blocks_place = place.key("blocks");
    if graph.blocks.is_empty() {
        return Err(vec![blocks_place.invalid("value_error", "a workflow needs at least one block")]);
    }
    let read = read_blocks(&graph.blocks, &blocks_place, &mut errors);
    let parents = read_edges(&graph, place, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let order = run_order(&graph.blocks, &parents).map_err(|stuck| {
        let names: Vec<String> = stuck.iter().map(|&i| label(&graph.blocks[i])).collect();
        let text = format!("the edges form a cycle through {}", names.join(", "));
        vec![place.key("edges").invalid("value_error", text)]
    })?;
    check_sources(&graph.blocks, &parents, &blocks_place, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let blocks: Vec<_> = read.into_iter().flatten().collect();
    let rows = row_types(&graph.blocks, &blocks, &order, &parents, &blocks_place)?;
    Ok(CheckedGraph { graph, order, parents, blocks, rows })
}

/// A block's name for people: `block 2 (filter)`.
pub(super) fn label(block: &Block) -> String {
    format!("block {} ({})", block.sequence_number, block.block_name)
}

fn read_blocks(
    blocks: &[Block],
    place: &Location,
    errors: &mut Vec<ValidationError>,
) -> Vec<Option<Box<dyn blocks::Block>>> {
    let mut ids: HashMap<&str, &Block> = HashMap::new();
    let mut numbers: HashMap<i64, &Block> = HashMap::new();
    let mut read = Vec::with_capacity(blocks.len());
    for (i, block) in blocks.iter().enumerate() {
        let place = place.item(i);
        let name = label(block);
        if let Some(first) = block.block_id.as_deref().and_then(|id| ids.insert(id, block)) {
            let text = format!("{name}: its block_id is that of {} too", label(first));
            errors.push(place.key("block_id").invalid("value_error", text));
        }
        // Our reading: numbers are distinct. Results are told apart by them.
        if let Some(first) = numbers.insert(block.sequence_number, block) {
            let text = format!("{name}: its sequence_number is that of {} too", label(first));
            errors.push(place.key("sequence_number").invalid("value_error", text));
        }
        let refuse = |text: String| place.key("block_name").invalid("value_error", format!("{name}: {text}"));
        match blocks::find(&block.block_name) {
            None => {
                errors.push(refuse("no such block".to_owned()));
                read.push(None);
            }
            Some(kind) => read.push(kind.read(&block.specs, &name, &place.key("specs"), errors)),
        }
    }
    read
}

fn read_edges(graph: &Graph, place: &Location, errors: &mut Vec<ValidationError>) -> Vec<Vec<usize>> {
    let index: HashMap<&str, usize> =
        graph.blocks.iter().enumerate().filter_map(|(i, block)| Some((block.block_id.as_deref()?, i))).collect();
    let mut parents = vec![Vec::new(); graph.blocks.len()];
    for (i, edge) in graph.edges.iter().enumerate() {
        let place = place.key("edges").item(i);
        let mut end = |key: &str, id: &str, other: &str| {
            let found = index.get(id).copied();
            if found.is_none() {
                let beside = index.get(other).map(|&i| format!(" (its other end is {})", label(&graph.blocks[i])));
                let text = format!("edge {}: no block has the id '{id}'{}", i + 1, beside.unwrap_or_default());
                errors.push(place.key(key).invalid("value_error", text));
            }
            found
        };
        let Edge { from_block_id, to_block_id, .. } = edge;
        let from = end("from_block_id", from_block_id, to_block_id);
        let to = end("to_block_id", to_block_id, from_block_id);
        // An edge given twice feeds its rows once.
        if let (Some(from), Some(to)) = (from, to)
            && !parents[to].contains(&from)
        {
            parents[to].push(from);
        }
    }
    for feeding in &mut parents {
        // Our reading: several parents' rows follow each other in the order of their numbers.
        feeding.sort_by_key(|&i| graph.blocks[i].sequence_number);
    }
    parents
}

/// Kahn's algorithm with a heap, so that of the blocks that could run the lowest number does.
/// `Err` holds the blocks on or behind a cycle.
fn run_order(blocks: &[Block], parents: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting_for: Vec<usize> = parents.iter().map(Vec::len).collect();
    let mut children = vec![Vec::new(); blocks.len()];
    for (child, feeding) in parents.iter().enumerate() {
        for &parent in feeding {
            children[parent].push(child);
        }
    }
    let ready = |i: usize| Reverse((blocks[i].sequence_number, i));
    let mut heap: BinaryHeap<_> = (0..blocks.len()).filter(|&i| waiting_for[i] == 0).map(ready).collect();
    let mut order = Vec::with_capacity(blocks.len());
    while let Some(Reverse((_, i))) = heap.pop() {
        order.push(i);
        for &child in &children[i] {
            waiting_for[child] -= 1;
            if waiting_for[child] == 0 {
                heap.push(ready(child));
            }
        }
    }
    if order.len() == blocks.len() {
        Ok(order)
    } else {
        Err((0..blocks.len()).filter(|&i| waiting_for[i] > 0).collect())
    }
}

fn check_sources(blocks: &[Block], parents: &[Vec<usize>], place: &Location, errors: &mut Vec<ValidationError>) {
    let mut first: Option<&Block> = None;
    for (i, block) in blocks.iter().enumerate() {
        let is_source = blocks::find(&block.block_name).is_some_and(|kind| kind.is_source);
        let mut refuse = |text: String| {
            errors.push(place.item(i).invalid("value_error", format!("{}: {text}", label(block))));
        };
        match (parents[i].is_empty(), is_source) {
            (false, false) => {}
            (false, true) => refuse("an input block cannot have a block before it".to_owned()),
            (true, false) => refuse("nothing feeds this block, and it is not an input block".to_owned()),
            (true, true) => match first {
                None => first = Some(block),
                // Our reading: `specs_override` and payloads go to "the source block", so there is one.
                Some(source) => {
                    refuse(format!("a workflow has one input block, and {} is one already", label(source)));
                }
            },
        }
    }
}

/// The kinds of the blocks' rows, or the blocks that get rows that they do not take.
fn row_types(
    blocks: &[Block],
    read: &[Box<dyn blocks::Block>],
    order: &[usize],
    parents: &[Vec<usize>],
    place: &Location,
) -> Result<Vec<RowType>, Vec<ValidationError>> {
    let takes = |i: usize| blocks::find(&blocks[i].block_name).and_then(|kind| kind.takes);
    let source = order[0];
    // Our reading: a source that does not declare its rows has those that the first block which
    // minds takes; LEAD, the API's default, if none does.
    let of_source =
        read[source].declared_rows().or_else(|| order.iter().find_map(|&i| takes(i))).unwrap_or(RowType::Lead);
    let mut rows = vec![of_source; blocks.len()];
    let mut errors = Vec::new();
    for &i in order {
        let mut refuse = |text: String| {
            errors.push(place.item(i).invalid("value_error", format!("{}: {text}", label(&blocks[i]))));
        };
        let given: Vec<(usize, RowType)> = parents[i].iter().map(|&parent| (parent, rows[parent])).collect();
        let comes = given.first().map_or(of_source, |(_, rows)| *rows);
        let says =
            |(parent, rows): (usize, RowType)| format!("{} gives {} rows", label(&blocks[parent]), rows.as_str());
        let taken = takes(i);
        let wrong: Vec<String> =
            given.iter().copied().filter(|(_, rows)| taken.is_some_and(|taken| taken != *rows)).map(says).collect();
        match taken {
            Some(taken) if !wrong.is_empty() => {
                refuse(format!("takes {} rows, but {}", taken.as_str(), wrong.join(" and ")));
            }
            _ if given.iter().any(|(_, rows)| *rows != comes) => {
                let all: Vec<String> = given.into_iter().map(says).collect();
                refuse(format!("its rows must be of one kind, but {}", all.join(" and ")));
            }
            _ => {}
        }
        rows[i] = blocks::find(&blocks[i].block_name).and_then(|kind| kind.gives).unwrap_or(comes);
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn graph(blocks: &[(i64, &str, &str)], edges: &[(&str, &str)]) -> Graph {
        let specs = |name: &str| match name {
            "filter" => json!({ "filters": [] }),
            "remove_columns" => json!({ "columns": ["x"] }),
            _ => json!({}),
        };
        serde_json::from_value(json!({
            "blocks": blocks.iter().map(|(number, name, id)| json!({
                "sequence_number": number, "block_type": "x", "block_name": name, "block_id": id,
                "specs": specs(name),
            })).collect::<Vec<_>>(),
            "edges": edges.iter().map(|(from, to)| json!({
                "from_block_id": from, "to_block_id": to,
            })).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    fn refused(graph: Graph) -> String {
        let errors = check(with_ids(graph), &Location::root("body")).unwrap_err();
        errors.into_iter().map(|error| error.msg).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn ids_that_are_not_uuids_are_replaced_with_their_edges() {
        let kept = "0a6f2f4e-7a57-4d0e-8d2c-3b1e5f7a9c02";
        let graph = with_ids(graph(&[(1, "webhook", "a"), (2, "filter", kept)], &[("a", kept)]));
        let id = graph.blocks[0].block_id.clone().unwrap();
        assert!(Uuid::parse_str(&id).is_ok());
        assert_eq!(graph.edges[0].from_block_id, id);
        assert_eq!(graph.edges[0].to_block_id, kept);
    }

    #[test]
    fn blocks_run_after_what_feeds_them_and_ties_by_number() {
        let graph = graph(
            &[
                (9, "deduplicate", "d"),
                (3, "filter", "c"),
                (2, "filter", "b"),
                (1, "webhook", "a"),
                (4, "remove_columns", "e"),
            ],
            &[("a", "c"), ("a", "b"), ("c", "d"), ("b", "d"), ("a", "e"), ("c", "d")],
        );
        let checked = check(with_ids(graph), &Location::root("body")).unwrap();
        let numbers: Vec<i64> = checked.order.iter().map(|&i| checked.graph.blocks[i].sequence_number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 9]);
        assert_eq!(checked.parents[0], [2, 1]);
        assert_eq!(checked.source(), 3);
    }

    #[test]
    fn broken_graphs_are_refused_by_name() {
        assert!(refused(Graph::default()).contains("at least one block"));
        let text = refused(graph(&[(1, "webhook", "a"), (2, "sort", "b")], &[("a", "b")]));
        assert_eq!(text, "block 2 (sort): no such block");
        let text = refused(graph(&[(1, "webhook", "a"), (2, "filter", "b")], &[("a", "zzz")]));
        assert!(text.contains("no block has the id 'zzz' (its other end is block 1 (webhook))"), "{text}");
        let text = refused(graph(
            &[(1, "webhook", "a"), (2, "filter", "b"), (3, "filter", "c")],
            &[("a", "b"), ("b", "c"), ("c", "b")],
        ));
        assert_eq!(text, "the edges form a cycle through block 2 (filter), block 3 (filter)");
        let text = refused(graph(&[(1, "webhook", "a"), (2, "read_csv", "b")], &[]));
        assert!(text.contains("block 2 (read_csv): a workflow has one input block"));
        let text = refused(graph(&[(1, "filter", "a")], &[]));
        assert!(text.contains("nothing feeds this block"));
        let text = refused(graph(&[(1, "webhook", "a"), (2, "webhook", "b")], &[("a", "b")]));
        assert!(text.contains("cannot have a block before it"));
        let text = refused(graph(&[(1, "webhook", "a"), (1, "filter", "a")], &[("a", "a")]));
        assert!(text.contains("block_id is that of") && text.contains("sequence_number is that of"));
    }

    #[test]
    fn rows_must_be_of_the_kind_that_a_block_takes() {
        let both = graph(
            &[(1, "webhook", "a"), (2, "company_enrichment", "b"), (3, "find_email", "c")],
            &[("a", "b"), ("b", "c")],
        );
        assert_eq!(
            refused(both),
            "block 3 (find_email): takes LEAD rows, but block 2 (company_enrichment) gives COMPANY rows"
        );
        let mut declared = graph(&[(1, "webhook", "a"), (2, "company_enrichment", "b")], &[("a", "b")]);
        assert_eq!(check(with_ids(declared.clone()), &Location::root("body")).unwrap().rows, [RowType::Company; 2]);
        declared.blocks[0].specs.insert("dataframe_type".to_owned(), Value::from("LEAD"));
        assert!(refused(declared).contains("takes COMPANY rows"));
        let turned = graph(
            &[(1, "webhook", "a"), (2, "company_to_leads", "b"), (3, "find_email", "c"), (4, "filter", "d")],
            &[("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")],
        );
        assert_eq!(
            refused(turned.clone()),
            "block 4 (filter): its rows must be of one kind, but block 1 (webhook) gives COMPANY rows and \
             block 3 (find_email) gives LEAD rows"
        );
        let mut turned = turned;
        turned.edges.pop();
        use RowType::{Company, Lead};
        assert_eq!(check(with_ids(turned), &Location::root("body")).unwrap().rows, [Company, Lead, Lead, Lead]);
    }
}
