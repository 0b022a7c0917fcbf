//! SVG drawing of a workflow's graph: one column of blocks per distance from the source, edges from left to right. It
//! knows neither runs nor workflows, only nodes.

use super::html::Html;

/// Sizes of a node, of the gaps between nodes and of the margin, in pixels. By eye.
const WIDTH: usize = 210;
const HEIGHT: usize = 76;
const GAP_X: usize = 56;
const GAP_Y: usize = 20;
const MARGIN: usize = 8;

/// Characters of a name that fit into a node.
const NAME_LEN: usize = 22;

/// Block of the drawing.
pub(super) struct Node {
    pub number: i64,
    pub name: String,
    /// `pending`, `running`, `completed` or `failed`; empty in the drawing of a workflow.
    pub state: &'static str,
    /// Text beside the state, such as a number of rows.
    pub detail: String,
    /// Progress, 0 to 100; `None` draws no bar.
    pub percent: Option<f64>,
    /// Indices of the nodes that feed it.
    pub parents: Vec<usize>,
}

/// Draws the nodes and their edges, with a description for screen readers.
pub(super) fn draw(nodes: &[Node]) -> Html {
    let depths = depths(nodes);
    let n_columns = depths.iter().max().map_or(0, |deepest| deepest + 1);
    // Each node goes below the earlier ones of its column.
    let mut column_heights = vec![0; n_columns];
    let mut corners = Vec::with_capacity(nodes.len());
    for depth in &depths {
        corners.push((MARGIN + depth * (WIDTH + GAP_X), MARGIN + column_heights[*depth] * (HEIGHT + GAP_Y)));
        column_heights[*depth] += 1;
    }
    let n_rows = column_heights.iter().max().copied().unwrap_or(0);
    let width = 2 * MARGIN + n_columns * (WIDTH + GAP_X) - if n_columns > 0 { GAP_X } else { 0 };
    let height = 2 * MARGIN + n_rows * (HEIGHT + GAP_Y) - if n_rows > 0 { GAP_Y } else { 0 };
    let mut svg = Html::default();
    svg.tag("<div class=\"graph\" role=\"region\" aria-label=\"Graph of the blocks\" tabindex=\"0\" id=\"graph\">");
    svg.tag("<svg role=\"img\" aria-label=\"").text(description(nodes)).tag("\" width=\"").text(width);
    svg.tag("\" height=\"").text(height).tag("\" viewBox=\"0 0 ").text(width).tag(" ").text(height).tag("\">");
    svg.tag(
        "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path class=\"head\" d=\"M0 0 L8 4 L0 8 z\"/></marker></defs>",
    );
    // Edges first: a node covers an edge that skips a column behind it.
    for (i, node) in nodes.iter().enumerate() {
        for &parent in &node.parents {
            let (from_x, from_y) = (corners[parent].0 + WIDTH, corners[parent].1 + HEIGHT / 2);
            let (to_x, to_y) = (corners[i].0, corners[i].1 + HEIGHT / 2);
            let bend = GAP_X / 2;
            svg.tag("<path class=\"edge\" marker-end=\"url(#arrow)\" d=\"M").text(from_x).tag(" ").text(from_y);
            svg.tag(" C").text(from_x + bend).tag(" ").text(from_y).tag(" ").text(to_x - bend).tag(" ").text(to_y);
            svg.tag(" ").text(to_x).tag(" ").text(to_y).tag("\"/>");
        }
    }
    for (node, (x, y)) in nodes.iter().zip(corners) {
        node.draw(&mut svg, x, y);
    }
    svg.tag("</svg></div>");
    svg
}

impl Node {
    fn draw(&self, svg: &mut Html, x: usize, y: usize) {
        svg.tag("<g class=\"node ").text(self.state).tag("\" transform=\"translate(").text(x).tag(" ").text(y);
        svg.tag(")\"><title>").text(format_args!("{} {} {}", self.number, self.name, self.detail)).tag("</title>");
        svg.tag("<rect class=\"box\" rx=\"8\" width=\"").text(WIDTH).tag("\" height=\"").text(HEIGHT).tag("\"/>");
        svg.tag("<text class=\"name\" x=\"14\" y=\"26\">").text(self.number).tag(" ").text(shortened(&self.name));
        svg.tag("</text><text class=\"detail\" x=\"14\" y=\"47\">");
        if !self.state.is_empty() {
            svg.text(symbol(self.state)).tag(" ").text(self.state);
        }
        svg.tag("</text><text class=\"detail\" x=\"").text(WIDTH - 14).tag("\" y=\"47\" text-anchor=\"end\">");
        svg.text(shortened(&self.detail)).tag("</text>");
        if let Some(percent) = self.percent {
            let full = WIDTH - 28;
            let done = (full as f64 * percent.clamp(0.0, 100.0) / 100.0).round();
            svg.tag("<rect class=\"track\" x=\"14\" y=\"58\" rx=\"3\" height=\"6\" width=\"").text(full).tag("\"/>");
            svg.tag("<rect class=\"bar\" x=\"14\" y=\"58\" rx=\"3\" height=\"6\" width=\"").text(done).tag("\"/>");
        }
        svg.tag("</g>");
    }
}

/// Returns a symbol for a state, so that colour is not the only indication of it.
pub(super) fn symbol(state: &str) -> &'static str {
    match state {
        "completed" => "✓",
        "running" => "▶",
        "failed" | "timeout" => "✗",
        "cancelled" => "⊘",
        _ => "○",
    }
}

/// Returns the length of the longest path from a source to each node, in edges.
fn depths(nodes: &[Node]) -> Vec<usize> {
    let mut depths = vec![0; nodes.len()];
    // An acyclic graph settles within as many rounds as it has nodes. Graphs with cycles are never stored, and the
    // bound ends the loop even for one.
    for _ in 0..nodes.len() {
        let mut changed = false;
        for (i, node) in nodes.iter().enumerate() {
            let depth = node.parents.iter().map(|&parent| depths[parent] + 1).max().unwrap_or(0);
            changed |= depth != depths[i];
            depths[i] = depth;
        }
        if !changed {
            break;
        }
    }
    depths
}

/// Describes the graph in words, for screen readers.
fn description(nodes: &[Node]) -> String {
    let one = |node: &Node| {
        let from: Vec<String> = node.parents.iter().map(|&parent| nodes[parent].number.to_string()).collect();
        let from = if from.is_empty() { String::new() } else { format!(" after {}", from.join(" and ")) };
        let state = if node.state.is_empty() { String::new() } else { format!(", {}", node.state) };
        format!("block {} {}{from}{state}", node.number, node.name)
    };
    nodes.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= NAME_LEN {
        return text.to_owned();
    }
    let head: String = text.chars().take(NAME_LEN - 1).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: i64, parents: &[usize]) -> Node {
        Node {
            number,
            name: format!("<b{number}>"),
            state: "running",
            detail: "3 of 4 rows".to_owned(),
            percent: Some(50.0),
            parents: parents.to_vec(),
        }
    }

    #[test]
    fn nodes_are_right_of_their_parents() {
        let nodes = [node(1, &[]), node(2, &[0]), node(3, &[0]), node(4, &[1, 2]), node(5, &[0, 3])];
        assert_eq!(depths(&nodes), [0, 1, 1, 2, 3]);
        let svg = draw(&nodes).into_text();
        assert_eq!(svg.matches("class=\"edge\"").count(), 6);
        assert_eq!(svg.matches("class=\"node running\"").count(), 5);
        assert!(svg.contains("block 4 &lt;b4&gt; after 2 and 3, running"), "{svg}");
        assert!(!svg.contains("<b4>"));
        assert_eq!(draw(&[]).into_text().matches("class=\"node").count(), 0);
    }
}
