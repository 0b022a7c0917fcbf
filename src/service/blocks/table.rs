//! Table of all blocks and lookup by name. The names are those that the vendor's public material shows.

use super::definition::BlockType;
use super::row_type::RowType::{Company, Lead};
use super::{
    append_to_notebook, company_to_leads, deduplicate, deduplicate_wrt_notebook, enrichment, filter, group_by,
    leads_to_company, outgoing_webhook, read_csv, read_notebook, remove_columns, search, send_slack_message,
    transform_data, webhook,
};
use crate::api::{Block, BlockDescription};

static BLOCKS: [BlockType; 37] = [
    webhook::block(),
    read_csv::block(),
    read_notebook::block(),
    search::block(),
    enrichment::renamed("enrich_lead", "lead_enrichment", Lead),
    enrichment::renamed("enrich_company", "company_enrichment", Company),
    // Our reading: the accepted row type is not public, so both are accepted.
    enrichment::block("linkedin_enrichment", None),
    enrichment::find_email(),
    enrichment::block("find_phone", Some(Lead)),
    enrichment::block("verify_email", Some(Lead)),
    enrichment::block("reverse_email", Some(Lead)),
    enrichment::block("reverse_phone", Some(Lead)),
    company_to_leads::block(),
    leads_to_company::block(),
    // Our reading: discovery, web, social and integration blocks that follow another block add
    // columns to its rows; the row types that they accept are not public.
    enrichment::block("github_find_people", None),
    enrichment::block("google_maps_search", None),
    enrichment::block("scrape_web", None),
    enrichment::block("backlinks_referring_domains", None),
    enrichment::block("find_subdomains", None),
    enrichment::block("x_search", None),
    enrichment::block("tiktok_get_following", None),
    enrichment::block("kaggle_leaderboard", None),
    enrichment::block("llm_openai", None),
    enrichment::block("qa_agent", None),
    enrichment::block("research_agent", None),
    transform_data::block(),
    filter::block(),
    deduplicate::block(),
    deduplicate_wrt_notebook::block(),
    group_by::block(),
    remove_columns::block(),
    append_to_notebook::block(),
    outgoing_webhook::block(),
    send_slack_message::block(),
    enrichment::block("hubspot_import", None),
    enrichment::block("yc_batches", None),
    enrichment::block("yc_companies", None),
];

/// Returns the block with this name or former name.
pub(in crate::service) fn find(name: &str) -> Option<&'static BlockType> {
    BLOCKS.iter().find(|block| block.name == name || block.old_name == Some(name))
}

/// Returns true if `named` is a name of the block, the former one too, or its sequence number.
pub(in crate::service) fn is_named(block: &Block, named: &str) -> bool {
    let of_catalogue = |name: &str| find(name).map(|block| block.name);
    block.block_name == named
        || block.sequence_number.to_string() == named
        || of_catalogue(named).is_some_and(|name| of_catalogue(&block.block_name) == Some(name))
}

/// Returns all blocks with their schemas, as `GET /workflows/blocks` lists them.
pub(in crate::service) fn descriptions() -> Vec<BlockDescription> {
    let description = |block: &BlockType| BlockDescription {
        block_name: block.name.to_owned(),
        specs_schema: block.schema().clone(),
    };
    BLOCKS.iter().map(description).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_by_either_name() {
        assert_eq!(find("enrich_company").unwrap().name, "company_enrichment");
        assert_eq!(find("filter").unwrap().name, "filter");
        assert!(find("sort").is_none());
    }

    #[test]
    fn names_are_valid_in_file_names_and_unique() {
        let mut names = std::collections::HashSet::new();
        for block in &BLOCKS {
            assert!(block.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", block.name);
            assert!(names.insert(block.name) && block.old_name.is_none_or(|name| names.insert(name)));
        }
    }
}
