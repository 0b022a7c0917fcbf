//! SVG drawing of a workflow's graph. Blocks go from left to right by their distance from the source, in rows of a few
//! columns, so that a long chain fits the page; narrow screens get a drawing of one column. It knows neither runs nor
//! workflows, only nodes.

use super::html::Html;

/// Sizes of a node, of the gaps between nodes and of the margin, in pixels. By eye: four columns are as wide as the page.
const WIDTH: usize = 252;
const HEIGHT: usize = 72;
const GAP_X: usize = 34;
const GAP_Y: usize = 30;
const MARGIN: usize = 6;

/// Columns of the drawing for wide screens and of the one for narrow screens.
const COLUMNS: [(&str, usize); 2] = [("wide", 4), ("narrow", 1)];

/// Characters of a name that fit into a node, and of the line below it.
const NAME_LEN: usize = 28;
const DETAIL_LEN: usize = 34;

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

/// Place of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Corner {
    x: usize,
    y: usize,
    /// Row of columns, from 0.
    row: usize,
}

/// Draws the nodes and their edges, with a description for screen readers. Each node is a link to the element `block-` and
/// its number.
pub(super) fn draw(nodes: &[Node]) -> Html {
    let mut html = Html::default();
    html.tag("<div class=\"graph\" id=\"graph\">");
    for (class, columns) in COLUMNS {
        let (corners, width, height) = corners(nodes, columns);
        html.tag("<svg role=\"group\" class=\"").tag(class).tag("\" aria-label=\"").text(description(nodes));
        html.tag("\" viewBox=\"0 0 ")
            .text(width)
            .tag(" ")
            .text(height)
            .tag("\" width=\"")
            .text(width)
            .tag("\" height=\"");
        html.text(height)
            .tag("\"><defs><marker id=\"arrow-")
            .tag(class)
            .tag("\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" ");
        html.tag("markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path class=\"head\" d=\"M0 0 L8 4 L0 8 z\"/>");
        html.tag("</marker></defs>");
        // Edges first: a node covers an edge that skips a column behind it.
        for (i, node) in nodes.iter().enumerate() {
            for &parent in &node.parents {
                edge(&mut html, class, corners[parent], corners[i]);
            }
        }
        for (node, corner) in nodes.iter().zip(&corners) {
            node.draw(&mut html, *corner);
        }
        html.tag("</svg>");
    }
    html.tag("</div>");
    html
}

/// Places the nodes in rows of `columns`; returns also the size of the drawing.
fn corners(nodes: &[Node], columns: usize) -> (Vec<Corner>, usize, usize) {
    let depths = depths(nodes);
    let n_depths = depths.iter().max().map_or(0, |deepest| deepest + 1);
    // Nodes of each depth, which are below each other.
    let mut counts = vec![0; n_depths];
    let positions: Vec<usize> = depths
        .iter()
        .map(|&depth| {
            counts[depth] += 1;
            counts[depth] - 1
        })
        .collect();
    // Height of each row in nodes, and the nodes of the rows above it.
    let heights: Vec<usize> = counts.chunks(columns).map(|row| row.iter().max().copied().unwrap_or(0)).collect();
    let above = |row: usize| heights[..row].iter().sum::<usize>();
    let place = |(&depth, &position): (&usize, &usize)| {
        let row = depth / columns;
        Corner {
            x: MARGIN + depth % columns * (WIDTH + GAP_X),
            y: MARGIN + (above(row) + position) * (HEIGHT + GAP_Y),
            row,
        }
    };
    let corners = depths.iter().zip(&positions).map(place).collect();
    let (n_columns, n_nodes) = (n_depths.min(columns), heights.iter().sum::<usize>());
    let width = 2 * MARGIN + (n_columns * (WIDTH + GAP_X)).saturating_sub(GAP_X);
    let height = 2 * MARGIN + (n_nodes * (HEIGHT + GAP_Y)).saturating_sub(GAP_Y);
    (corners, width, height)
}

/// Draws an edge: from side to side within a row, else from the bottom of one node to the top of the other.
fn edge(html: &mut Html, class: &'static str, from: Corner, to: Corner) {
    html.tag("<path class=\"edge\" marker-end=\"url(#arrow-").tag(class).tag(")\" d=\"M");
    let (start, end, bends) = if from.row == to.row && from.x < to.x {
        let (start, end) = ((from.x + WIDTH, from.y + HEIGHT / 2), (to.x, to.y + HEIGHT / 2));
        let bend = GAP_X / 2;
        (start, end, [(start.0 + bend, start.1), (end.0 - bend, end.1)])
    } else {
        let (start, end) = ((from.x + WIDTH / 2, from.y + HEIGHT), (to.x + WIDTH / 2, to.y));
        let bend = GAP_Y / 2;
        (start, end, [(start.0, start.1 + bend), (end.0, end.1.saturating_sub(bend))])
    };
    html.text(start.0).tag(" ").text(start.1).tag(" C");
    for (x, y) in bends {
        html.text(x).tag(" ").text(y).tag(" ");
    }
    html.text(end.0).tag(" ").text(end.1).tag("\"/>");
}

impl Node {
    fn draw(&self, svg: &mut Html, corner: Corner) {
        svg.tag("<a href=\"#block-").text(self.number).tag("\"><g class=\"node ").text(self.state);
        svg.tag("\" transform=\"translate(").text(corner.x).tag(" ").text(corner.y).tag(")\"><title>");
        svg.text(format_args!("{} {} {} {}", self.number, self.name, self.state, self.detail)).tag("</title>");
        svg.tag("<rect class=\"box\" rx=\"8\" width=\"").text(WIDTH).tag("\" height=\"").text(HEIGHT).tag("\"/>");
        let name = format!("{} {}", self.number, self.name);
        svg.tag("<text class=\"name\" x=\"12\" y=\"26\">").text(shortened(&name, NAME_LEN));
        svg.tag("</text><text class=\"detail\" x=\"12\" y=\"47\">");
        if self.state.is_empty() {
            svg.text(shortened(&self.detail, DETAIL_LEN)).tag("</text>");
        } else {
            svg.text(symbol(self.state)).tag(" ").text(self.state).tag("</text><text class=\"detail\" x=\"");
            svg.text(WIDTH - 12).tag("\" y=\"47\" text-anchor=\"end\">").text(shortened(&self.detail, DETAIL_LEN - 12));
            svg.tag("</text>");
        }
        if let Some(percent) = self.percent {
            let full = WIDTH - 24;
            let done = (full as f64 * percent.clamp(0.0, 100.0) / 100.0).round();
            svg.tag("<rect class=\"track\" x=\"12\" y=\"57\" rx=\"3\" height=\"6\" width=\"").text(full).tag("\"/>");
            svg.tag("<rect class=\"bar\" x=\"12\" y=\"57\" rx=\"3\" height=\"6\" width=\"").text(done).tag("\"/>");
        }
        svg.tag("</g></a>");
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

fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let head: String = text.chars().take(max - 1).collect();
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
        assert_eq!(svg.matches("class=\"edge\"").count(), 2 * 6, "for wide and for narrow screens");
        assert_eq!(svg.matches("class=\"node running\"").count(), 2 * 5);
        assert!(svg.contains("block 4 &lt;b4&gt; after 2 and 3, running"), "{svg}");
        assert!(!svg.contains("<b4>"));
        assert_eq!(draw(&[]).into_text().matches("class=\"node").count(), 0);
    }

    #[test]
    fn long_chains_are_in_rows_and_names_fit() {
        let nodes: Vec<Node> = (0..6).map(|i| node(i + 1, if i == 0 { &[] } else { &[0] })).collect();
        let chain: Vec<Node> = nodes
            .into_iter()
            .enumerate()
            .map(|(i, n)| Node { parents: (i > 0).then(|| i - 1).into_iter().collect(), ..n })
            .collect();
        let (corners, width, height) = corners(&chain, 4);
        assert!(width <= 1130 && height < 2 * (HEIGHT + GAP_Y) + 2 * MARGIN, "{width} {height}");
        assert_eq!((corners[3].row, corners[4].row, corners[4].x), (0, 1, MARGIN));
        let (_, narrow, tall) = super::corners(&chain, 1);
        assert!(narrow < 300 && tall > 6 * HEIGHT, "{narrow} {tall}");
        // The longest name of a block, in the widest digits.
        let longest = "deduplicate_wrt_notebook";
        assert!(format!("88 {longest}").chars().count() <= NAME_LEN);
    }
}
