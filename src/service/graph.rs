//! Validation of a workflow's graph when it is created or a run starts: block ids, edges, sources, row types, and the
//! order of execution. It reports every independent problem at once and never changes the stored definition.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use uuid::Uuid;

use super::blocks::{self, RowType};
use super::location::Location;
use crate::api::{Block, Edge, Graph, ValidationError};

/// Graph that can be executed. All vectors but `order` are indexed like `graph.blocks`.
#[derive(Debug)]
pub(super) struct CheckedGraph {
    /// The graph, every block with an id.
    pub graph: Graph,
    /// Indices of the blocks in order of execution: each after its parents, ties by sequence number.
    pub order: Vec<usize>,
    /// Indices of the blocks that feed each block, by sequence number.
    pub parents: Vec<Vec<usize>>,
    /// The blocks with parsed specs.
    pub blocks: Vec<Box<dyn blocks::Block>>,
    /// Type of the rows that each block produces.
    pub row_types: Vec<RowType>,
}

impl CheckedGraph {
    /// Returns the index of the source, the only block without parents.
    pub(super) fn source(&self) -> usize {
        self.order[0]
    }
}

/// Assigns a new UUID to every block without an id or with one that is not a UUID, and updates the edges. Duplicate ids
/// stay duplicates, so that [`check`] reports them.
pub(super) fn with_ids(mut graph: Graph) -> Graph {
    let mut renamed: HashMap<String, String> = HashMap::new();
    for block in &mut graph.blocks {
        match &block.block_id {
            Some(id) if Uuid::parse_str(id).is_ok() => {}
            // The same id always maps to the same UUID, in other blocks and in edges.
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

/// Validates a graph whose blocks have ids from [`with_ids`]. `location` is the graph's location in the request.
/// Returns all independent problems at once, each with the name of its block.
pub(super) fn check(graph: Graph, location: &Location) -> Result<CheckedGraph, Vec<ValidationError>> {
    let mut errors = Vec::new();
    let blocks_location = location.key("blocks");
    if graph.blocks.is_empty() {
        return Err(vec![blocks_location.invalid("value_error", "a workflow needs at least one block")]);
    }
    let parsed = parse_blocks(&graph.blocks, &blocks_location, &mut errors);
    let parents = resolve_edges(&graph, location, &mut errors);
    // The checks below rely on valid blocks and edges, so their reports would only repeat these.
    if !errors.is_empty() {
        return Err(errors);
    }
    let order = execution_order(&graph.blocks, &parents).map_err(|stuck| {
        let names: Vec<String> = stuck.iter().map(|&i| label(&graph.blocks[i])).collect();
        let text = format!("the edges form a cycle through {}", names.join(", "));
        vec![location.key("edges").invalid("value_error", text)]
    })?;
    check_sources(&graph.blocks, &parents, &blocks_location, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let blocks: Vec<_> = parsed.into_iter().flatten().collect();
    let row_types = row_types(&graph.blocks, &blocks, &order, &parents, &blocks_location)?;
    Ok(CheckedGraph { graph, order, parents, blocks, row_types })
}

/// Returns a block's name in messages, with its sequence number: `block 2 (filter)`.
pub(super) fn label(block: &Block) -> String {
    format!("block {} ({})", block.sequence_number, block.block_name)
}

/// Parses the specs of all blocks; `None` for a block that was refused.
fn parse_blocks(
    blocks: &[Block],
    location: &Location,
    errors: &mut Vec<ValidationError>,
) -> Vec<Option<Box<dyn blocks::Block>>> {
    let mut ids: HashMap<&str, &Block> = HashMap::new();
    let mut numbers: HashMap<i64, &Block> = HashMap::new();
    let mut parsed = Vec::with_capacity(blocks.len());
    for (i, block) in blocks.iter().enumerate() {
        let location = location.item(i);
        let name = label(block);
        if let Some(first) = block.block_id.as_deref().and_then(|id| ids.insert(id, block)) {
            let text = format!("{name}: duplicate block_id, already used by {}", label(first));
            errors.push(location.key("block_id").invalid("value_error", text));
        }
        // Our reading: sequence numbers are unique, because result files are named by them.
        if let Some(first) = numbers.insert(block.sequence_number, block) {
            let text = format!("{name}: duplicate sequence_number, already used by {}", label(first));
            errors.push(location.key("sequence_number").invalid("value_error", text));
        }
        match blocks::find(&block.block_name) {
            None => {
                let text = format!("{name}: unknown block_name; GET /workflows/blocks lists the known ones");
                errors.push(location.key("block_name").invalid("value_error", text));
                parsed.push(None);
            }
            Some(block_type) => {
                parsed.push(block_type.read(&block.specs, &name, &location.key("specs"), errors));
            }
        }
    }
    parsed
}

/// Resolves the edges to the parents of each block, as indices sorted by sequence number.
fn resolve_edges(graph: &Graph, location: &Location, errors: &mut Vec<ValidationError>) -> Vec<Vec<usize>> {
    let index: HashMap<&str, usize> =
        graph.blocks.iter().enumerate().filter_map(|(i, block)| Some((block.block_id.as_deref()?, i))).collect();
    let mut parents = vec![Vec::new(); graph.blocks.len()];
    for (i, edge) in graph.edges.iter().enumerate() {
        let location = location.key("edges").item(i);
        let mut end = |key: &str, id: &str, other: &str| {
            let found = index.get(id).copied();
            if found.is_none() {
                let other_end = index.get(other).map(|&i| format!(" (its other end is {})", label(&graph.blocks[i])));
                let text = format!("edges[{i}].{key}: no block has the id '{id}'{}", other_end.unwrap_or_default());
                errors.push(location.key(key).invalid("value_error", text));
            }
            found
        };
        let Edge { from_block_id, to_block_id, .. } = edge;
        let from = end("from_block_id", from_block_id, to_block_id);
        let to = end("to_block_id", to_block_id, from_block_id);
        // A duplicate edge does not duplicate the rows.
        if let (Some(from), Some(to)) = (from, to)
            && !parents[to].contains(&from)
        {
            parents[to].push(from);
        }
    }
    for feeding in &mut parents {
        // Our reading: the rows of several parents are concatenated in the order of their sequence numbers.
        feeding.sort_by_key(|&i| graph.blocks[i].sequence_number);
    }
    parents
}

/// Sorts the blocks topologically: Kahn's algorithm with a heap, so that of several blocks that are ready the one with
/// the lowest sequence number is next. An error holds the blocks on or behind a cycle.
fn execution_order(blocks: &[Block], parents: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    // Number of parents of each block that are not in `order` yet.
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

/// Checks that exactly one block has no parents and that it, and no other, is a source.
fn check_sources(blocks: &[Block], parents: &[Vec<usize>], location: &Location, errors: &mut Vec<ValidationError>) {
    let mut first: Option<&Block> = None;
    for (i, block) in blocks.iter().enumerate() {
        let is_source = blocks::find(&block.block_name).is_some_and(|block_type| block_type.is_source);
        let mut refuse = |text: String| {
            errors.push(location.item(i).invalid("value_error", format!("{}: {text}", label(block))));
        };
        match (parents[i].is_empty(), is_source) {
            (false, false) => {}
            (false, true) => refuse("a source block cannot have an incoming edge".to_owned()),
            (true, false) => refuse("no edge leads to this block, and it is not a source block".to_owned()),
            (true, true) => match first {
                None => first = Some(block),
                // Our reading: `specs_override` and payloads go to "the source block", so there is exactly one.
                Some(source) => {
                    refuse(format!("a workflow has one source block, and {} is one already", label(source)));
                }
            },
        }
    }
}

/// Infers the row type that each block produces, from the source on. Returns the blocks whose parents produce rows that
/// they do not accept.
fn row_types(
    blocks: &[Block],
    parsed: &[Box<dyn blocks::Block>],
    order: &[usize],
    parents: &[Vec<usize>],
    location: &Location,
) -> Result<Vec<RowType>, Vec<ValidationError>> {
    let accepts = |i: usize| blocks::find(&blocks[i].block_name).and_then(|block_type| block_type.accepts);
    let source = order[0];
    // Our reading: a source that declares no row type has the one that the first block with a
    // requirement accepts; LEAD, the API's default, if no block has one.
    let of_source =
        parsed[source].declared_row_type().or_else(|| order.iter().find_map(|&i| accepts(i))).unwrap_or(RowType::Lead);
    let mut row_types = vec![of_source; blocks.len()];
    let mut errors = Vec::new();
    for &i in order {
        let mut refuse = |text: String| {
            errors.push(location.item(i).invalid("value_error", format!("{}: {text}", label(&blocks[i]))));
        };
        let incoming: Vec<(usize, RowType)> = parents[i].iter().map(|&parent| (parent, row_types[parent])).collect();
        let input = incoming.first().map_or(of_source, |(_, row_type)| *row_type);
        let produces = |(parent, row_type): (usize, RowType)| {
            format!("{} produces {} rows", label(&blocks[parent]), row_type.as_str())
        };
        let accepted = accepts(i);
        let mismatched: Vec<String> = incoming
            .iter()
            .copied()
            .filter(|(_, row_type)| accepted.is_some_and(|accepted| accepted != *row_type))
            .map(produces)
            .collect();
        match accepted {
            Some(accepted) if !mismatched.is_empty() => {
                refuse(format!("accepts {} rows, but {}", accepted.as_str(), mismatched.join(" and ")));
            }
            // A block that accepts both types still needs all of its rows to have the same.
            _ if incoming.iter().any(|(_, row_type)| *row_type != input) => {
                let all: Vec<String> = incoming.into_iter().map(produces).collect();
                refuse(format!("its rows must have one type, but {}", all.join(" and ")));
            }
            _ => {}
        }
        // After a mismatch, the block's own output type still gives the blocks behind it a sensible check.
        row_types[i] = blocks::find(&blocks[i].block_name).and_then(|block_type| block_type.produces).unwrap_or(input);
    }
    if errors.is_empty() { Ok(row_types) } else { Err(errors) }
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
    fn blocks_run_after_their_parents_and_ties_by_number() {
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
        assert_eq!(text, "block 2 (sort): unknown block_name; GET /workflows/blocks lists the known ones");
        let text = refused(graph(&[(1, "webhook", "a"), (2, "filter", "b")], &[("a", "zzz")]));
        assert_eq!(text, "edges[0].to_block_id: no block has the id 'zzz' (its other end is block 1 (webhook))");
        let text = refused(graph(
            &[(1, "webhook", "a"), (2, "filter", "b"), (3, "filter", "c")],
            &[("a", "b"), ("b", "c"), ("c", "b")],
        ));
        assert_eq!(text, "the edges form a cycle through block 2 (filter), block 3 (filter)");
        let text = refused(graph(&[(1, "webhook", "a"), (2, "read_csv", "b")], &[]));
        assert!(text.contains("block 2 (read_csv): a workflow has one source block"), "{text}");
        let text = refused(graph(&[(1, "filter", "a")], &[]));
        assert!(text.contains("no edge leads to this block"), "{text}");
        let text = refused(graph(&[(1, "webhook", "a"), (2, "webhook", "b")], &[("a", "b")]));
        assert!(text.contains("cannot have an incoming edge"), "{text}");
        let text = refused(graph(&[(1, "webhook", "a"), (1, "filter", "a")], &[("a", "a")]));
        assert!(text.contains("duplicate block_id") && text.contains("duplicate sequence_number"), "{text}");
    }

    #[test]
    fn a_blocks_rows_must_have_the_type_that_it_accepts() {
        let both = graph(
            &[(1, "webhook", "a"), (2, "company_enrichment", "b"), (3, "find_email", "c")],
            &[("a", "b"), ("b", "c")],
        );
        assert_eq!(
            refused(both),
            "block 3 (find_email): accepts LEAD rows, but block 2 (company_enrichment) produces COMPANY rows"
        );
        let mut declared = graph(&[(1, "webhook", "a"), (2, "company_enrichment", "b")], &[("a", "b")]);
        let checked = check(with_ids(declared.clone()), &Location::root("body")).unwrap();
        assert_eq!(checked.row_types, [RowType::Company; 2]);
        declared.blocks[0].specs.insert("dataframe_type".to_owned(), Value::from("LEAD"));
        assert!(refused(declared).contains("accepts COMPANY rows"));
        let mut converted = graph(
            &[(1, "webhook", "a"), (2, "company_to_leads", "b"), (3, "find_email", "c"), (4, "filter", "d")],
            &[("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")],
        );
        assert_eq!(
            refused(converted.clone()),
            "block 4 (filter): its rows must have one type, but block 1 (webhook) produces COMPANY rows and \
             block 3 (find_email) produces LEAD rows"
        );
        converted.edges.pop();
        use RowType::{Company, Lead};
        let checked = check(with_ids(converted), &Location::root("body")).unwrap();
        assert_eq!(checked.row_types, [Company, Lead, Lead, Lead]);
    }
}
