//! The features of a table that a writer must know: those that a load honours, and those for which it is refused by name.

use serde_json::Value;

use super::snapshot::Snapshot;

/// The feature of local times.
pub(super) const LOCAL_TIMES: &str = "timestampNtz";

/// Features that a load without rows to change need not do anything for, or whose use in the table is looked for below.
const HARMLESS: &[&str] = &[
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "columnMapping",
    "identityColumns",
    "deletionVectors",
    LOCAL_TIMES,
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "typeWidening",
    "typeWidening-preview",
    "domainMetadata",
    "checkpointProtection",
    "allowColumnDefaults",
    "variantType",
    "variantType-preview",
    "variantShredding-preview",
];

/// Returns the reason for which a load cannot write the table; `None` if it can.
pub(super) fn refusal(snapshot: &Snapshot, schema: &Value) -> Option<String> {
    let protocol = &snapshot.protocol;
    if protocol.min_writer_version > 7 || protocol.min_reader_version > 3 {
        return Some(format!(
            "its protocol (reader {}, writer {}) is newer than drawoff knows",
            protocol.min_reader_version, protocol.min_writer_version
        ));
    }
    let features = protocol.writer_features.iter().chain(&protocol.reader_features).flatten();
    let unknown = features.into_iter().find(|feature| !HARMLESS.contains(&feature.as_str()));
    if let Some(feature) = unknown {
        return Some(format!("it has the feature `{feature}`, which drawoff does not write"));
    }
    let property = |name: &str| snapshot.property(name);
    if let Some(mode) = property("delta.columnMapping.mode").filter(|mode| *mode != "none") {
        return Some(format!("its columns are mapped to other names (delta.columnMapping.mode is {mode})"));
    }
    if let Some(name) = snapshot.metadata.configuration.keys().find_map(|name| name.strip_prefix("delta.constraints."))
    {
        return Some(format!("it has the CHECK constraint `{name}`, which drawoff does not compute"));
    }
    for flag in ["delta.enableRowTracking", "delta.enableInCommitTimestamps", "delta.enableIcebergCompatV1"] {
        if property(flag) == Some("true") {
            return Some(format!("it has the property {flag}, which drawoff does not honour"));
        }
    }
    let provider = snapshot.metadata.format.get("provider").and_then(Value::as_str);
    if let Some(provider) = provider.filter(|provider| *provider != "parquet") {
        return Some(format!("its files are {provider}, not Parquet"));
    }
    column_refusal(schema)
}

/// Returns the reason for which a column, or a member of one, needs more than values.
fn column_refusal(ty: &Value) -> Option<String> {
    if let Some(fields) = ty.get("fields").and_then(Value::as_array) {
        return fields.iter().find_map(|field| {
            let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
            let of_metadata = field.get("metadata").and_then(Value::as_object).into_iter().flatten();
            let reason = of_metadata.filter(|(_, value)| !value.is_null()).find_map(|(key, _)| match key.as_str() {
                "delta.invariants" => Some("has an invariant"),
                "delta.generationExpression" => Some("is generated"),
                "CURRENT_DEFAULT" => Some("has a default"),
                key if key.starts_with("delta.identity.") => Some("is an identity column"),
                _ => None,
            });
            match reason {
                Some(reason) => Some(format!("its column `{name}` {reason}, which drawoff does not compute")),
                None => column_refusal(field.get("type")?),
            }
        });
    }
    ["elementType", "keyType", "valueType"].iter().find_map(|part| column_refusal(ty.get(part)?))
}

/// Returns true if the protocol has a feature of tables with lists of features.
pub(super) fn has_feature(snapshot: &Snapshot, feature: &str) -> bool {
    snapshot.protocol.writer_features.iter().flatten().any(|known| known == feature)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::warehouse::delta::actions::{Metadata, Protocol};

    fn reason(features: &[&str], properties: &[(&str, &str)], metadata: Value) -> Option<String> {
        let features: Vec<String> = features.iter().map(|feature| (*feature).to_owned()).collect();
        let configuration = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let snapshot = Snapshot {
            version: Some(0),
            protocol: Protocol {
                min_reader_version: 3,
                min_writer_version: 7,
                reader_features: Some(Vec::new()),
                writer_features: Some(features),
            },
            metadata: Metadata { configuration, format: json!({"provider": "parquet"}), ..Metadata::default() },
            ..Snapshot::default()
        };
        let inner = json!({"type": "struct", "fields": [{"name": "x", "type": "long", "metadata": metadata}]});
        let list = json!({"type": "array", "elementType": inner});
        refusal(&snapshot, &json!({"type": "struct", "fields": [{"name": "a", "type": list, "metadata": {}}]}))
    }

    #[test]
    fn what_a_load_cannot_honour_is_named() {
        assert_eq!(reason(&["deletionVectors", "appendOnly"], &[("delta.appendOnly", "true")], json!({})), None);
        for feature in ["rowTracking", "clustering", "icebergCompatV2", "inCommitTimestamp", "catalogManaged", "new"] {
            assert!(reason(&[feature], &[], json!({})).unwrap().contains(feature), "{feature}");
        }
        assert!(reason(&[], &[("delta.columnMapping.mode", "name")], json!({})).unwrap().contains("mapped"));
        assert_eq!(reason(&["columnMapping"], &[("delta.columnMapping.mode", "none")], json!({})), None);
        assert!(reason(&[], &[("delta.constraints.positive", "x > 0")], json!({})).unwrap().contains("`positive`"));
        for key in ["delta.invariants", "delta.generationExpression", "CURRENT_DEFAULT", "delta.identity.start"] {
            assert!(reason(&[], &[], json!({key: "1"})).unwrap().starts_with("its column `x`"), "{key}");
        }
    }
}
