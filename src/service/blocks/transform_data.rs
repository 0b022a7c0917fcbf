//! `transform_data`: transforms rows by the steps of the pipeline, a local extension. Without steps it is the vendor's
//! own block and works like an enrichment block.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::enrichment::{self, ReturnFieldSpecs};
use super::failure::Failure;
use super::spec_types::{Columns, Members, whole};
use crate::transform::{Grammar, Step};

pub(super) const fn block() -> BlockType {
    enrichment::with_specs::<TransformDataSpecs>("transform_data", None)
}

#[derive(Deserialize, ToSchema)]
struct TransformDataSpecs {
    /// Local extension: each step is an object with one key, the name of a step, whose value has the syntax of that
    /// step on the command line. Null is refused: it would pass rows that a step was meant to drop.
    #[schema(nullable = false)]
    steps: Option<Vec<StepSpecs>>,
    /// Columns to add if there are no steps, as in the enrichment blocks.
    #[schema(value_type = Option<BTreeMap<String, ReturnFieldSpecs>>)]
    return_fields: Option<Members<ReturnFieldSpecs>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
struct StepSpecs {
    /// Keep the rows for which this condition is true: score > 0.8
    #[schema(nullable = false)]
    r#where: Option<String>,
    /// Keep these columns, in this order: a,b,hq.city
    select: Option<Columns>,
    /// Drop these columns: a,b
    drop: Option<Columns>,
    /// Rename columns, as OLD=NEW: company=name
    rename: Option<Columns>,
    /// Keep this number of rows, the first ones.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9007199254740991i64, nullable = false)]
    limit: Option<u64>,
}

impl Specs for TransformDataSpecs {
    fn refine(schema: &mut Value) {
        // A step has exactly one key: with two, their order would matter, and JSON objects have none.
        let step = &mut schema["properties"]["steps"]["items"];
        step["minProperties"] = json!(1);
        step["maxProperties"] = json!(1);
        step["additionalProperties"] = json!(false);
        step["properties"]["where"]["format"] = json!("drawoff-condition");
        for name in ["select", "drop", "rename"] {
            // `Option` makes the value nullable, but a step needs one: keep only the other variant.
            let columns = step["properties"][name]["oneOf"][0].take();
            step["properties"][name] = columns;
            step["properties"][name]["format"] = json!("drawoff-columns");
        }
    }

    fn into_block(self, checked: BlockUnderCheck<'_>, problems: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let Some(list) = self.steps else { return Some(enrichment::enrich(self.return_fields, checked)) };
        let mut steps = Vec::with_capacity(list.len());
        let mut all_parsed = true;
        for (i, step) in list.into_iter().enumerate() {
            match step.parse() {
                Ok(parsed) => steps.extend(parsed),
                Err((name, cause)) => {
                    all_parsed = false;
                    let text = format!("cannot be parsed: {cause}");
                    problems.refuse(&["steps".into(), i.into(), name.into()], "value_error", &text);
                }
            }
        }
        all_parsed.then(|| Box::new(TransformData { steps }) as Box<dyn Block>)
    }
}

impl StepSpecs {
    /// Parses the step with the grammar of the pipeline. An error is the name of the step and the cause, followed by
    /// the parser's hint if it has one.
    fn parse(self) -> Result<Vec<Step>, (&'static str, String)> {
        let text = |columns: Option<Columns>| columns.map(Columns::text);
        let members = [
            ("where", self.r#where),
            ("select", text(self.select)),
            ("drop", text(self.drop)),
            ("rename", text(self.rename)),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let step = members.into_iter().find_map(|(name, text)| Some((name, text?)));
        let (name, text) = step.expect("the schema requires exactly one key");
        let grammar = Grammar::of(name).expect("each key of the schema is a step of the pipeline");
        grammar.parse(&text, 0).map_err(|error| {
            // The hint lists the valid names of an unknown type or function, so it belongs to the message.
            let cause = match &error.hint {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            };
            (name, cause)
        })
    }
}

#[derive(Debug)]
struct TransformData {
    steps: Vec<Step>,
}

impl Block for TransformData {
    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan::steps(self.steps.clone()))
    }
}
