//! What BuildKit says of each of its rules, and where it explains them.

/// Where the rules are explained, each on a page of its own.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// Name, page and description of each rule.
pub(super) const RULES: [(&str, &str, &str); 22] = [
    ("StageNameCasing", "stage-name-casing", "Stage names should be lowercase"),
    ("FromAsCasing", "from-as-casing", "The 'as' keyword should match the case of the 'from' keyword"),
    ("NoEmptyContinuation", "no-empty-continuation", "Empty continuation lines will become errors in a future release"),
    (
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    ("DuplicateStageName", "duplicate-stage-name", "Stage names should be unique"),
    ("ReservedStageName", "reserved-stage-name", "Reserved words should not be used as stage names"),
    (
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    (
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    ("UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs"),
    (
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    ),
    ("UndefinedVar", "undefined-var", "Variables should be defined before their use"),
    (
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    (
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    ("InvalidBaseImagePlatform", "", "Base image platform does not match expected target platform"),
    (
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    (
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    (
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    (
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    ("CopyIgnoredFile", "copy-ignored-file", "Attempting to Copy file that is excluded by .dockerignore"),
    (
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    ),
    ("ExposeProtoCasing", "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase"),
    (
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    ),
];

/// What a rule demands; empty for a rule that is not BuildKit's.
pub fn description(rule: &str) -> &'static str {
    RULES.iter().find(|(name, ..)| *name == rule).map_or("", |(_, _, description)| description)
}

/// The page that explains a rule, if there is one.
pub fn page(rule: &str) -> Option<String> {
    let (_, page, _) = RULES.iter().find(|(name, page, _)| *name == rule && !page.is_empty())?;
    Some(format!("{PAGES}{page}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_their_pages() {
        let page = page("JSONArgsRecommended");
        assert_eq!(page.as_deref(), Some("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"));
        assert_eq!(super::page("InvalidBaseImagePlatform"), None);
        assert_eq!(description("DuplicateStageName"), "Stage names should be unique");
        assert_eq!((description("Other"), super::page("Other")), ("", None));
    }
}
