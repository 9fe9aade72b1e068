//! The titles of steps, in progress (`[build 2/3] RUN make`) and in errors.

use image_tool::layout::platform::Platform;

use crate::dockerfile::Step;
use crate::dockerfile::instruction::Instruction;
use crate::dockerfile::plan::{Base, Plan, Stage};

/// The titles of a stage's steps, numbered as they come.
pub(super) struct Titles {
    /// The platform and the stage's name, each with a space; empty if the file has only one.
    stage: String,
    done: usize,
    total: usize,
}

impl Titles {
    /// `platform` begins the titles, if the image is for several.
    pub(super) fn of(plan: &Plan, number: usize, platform: Option<&Platform>) -> Self {
        let stage = &plan.stages[number];
        let several = plan.stages.len() > 1;
        let label = match (&stage.name, several) {
            (Some(name), true) => format!("{name} "),
            (None, true) => format!("stage-{number} "),
            (_, false) => String::new(),
        };
        let done = usize::from(shows_from(stage));
        let total = done + stage.steps.iter().filter(|step| step.instruction.makes_layer()).count();
        let platform = platform.map(|platform| format!("{platform} ")).unwrap_or_default();
        Self { stage: platform + &label, done, total }
    }

    fn title(&self, text: &str) -> String {
        let width = self.total.to_string().len();
        format!("[{}{:>width$}/{}] {text}", self.stage, self.done.min(self.total), self.total)
    }

    /// Counts the steps that the base image's triggers add.
    pub(super) fn add<'s>(&mut self, steps: impl IntoIterator<Item = &'s Step>) {
        self.total += steps.into_iter().filter(|step| step.instruction.makes_layer()).count();
    }

    /// The title of FROM, the first step, if it is one.
    pub(super) fn from(&self, stage: &Stage) -> Option<String> {
        shows_from(stage).then(|| self.title(&format!("FROM {}", base(stage))))
    }

    /// The title of the next step; that of a trigger begins with its keyword.
    pub(super) fn next(&mut self, step: &Step, is_trigger: bool) -> String {
        self.done += 1;
        let keyword = if is_trigger { "ONBUILD " } else { "" };
        self.title(&(keyword.to_owned() + &shorten(&step.text) + &summary(&step.instruction)))
    }
}

/// Whether FROM is a step: a stage that begins where another one ends, or with nothing, has none.
fn shows_from(stage: &Stage) -> bool {
    matches!(stage.base, Base::Image(_) | Base::Context(_))
}

/// The base of a stage, as its FROM names it.
pub(super) fn base(stage: &Stage) -> String {
    match &stage.base {
        Base::Scratch => "scratch".to_owned(),
        Base::Stage(_) => stage
            .text
            .split_whitespace()
            .find(|word| !word.starts_with("--") && !word.eq_ignore_ascii_case("from"))
            .unwrap_or_default()
            .to_owned(),
        Base::Image(name) | Base::Context(name) => name.clone(),
    }
}

/// The first line of a script in a heredoc: ` (apt-get update...)`.
fn summary(instruction: &Instruction) -> String {
    let Instruction::Run(run) = instruction else { return String::new() };
    let Some(heredoc) = run.heredocs.first() else { return String::new() };
    let lines: Vec<&str> = heredoc.content.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [] => String::new(),
        [only] => format!(" ({})", shorten(only)),
        [first, ..] => format!(" ({}...)", shorten(first)),
    }
}

/// The beginning of an instruction, on one line.
pub fn shorten(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::Dockerfile;

    #[test]
    fn steps_are_counted_as_buildkit_counts_them() {
        let titles = |source: &str, number: usize| -> Vec<String> {
            let file = Dockerfile::parse("D", source.as_bytes()).unwrap();
            let plan = Plan::new("D", &file, &|_| None).unwrap();
            let mut titles = Titles::of(&plan, number, None);
            let stage = &plan.stages[number];
            let from = titles.from(stage);
            let layers = stage.steps.iter().filter(|step| step.instruction.makes_layer());
            from.into_iter().chain(layers.map(|step| titles.next(step, false))).collect()
        };
        let file = "FROM a AS one\nENV A=b\nRUN x\nFROM one\nRUN y\nFROM scratch\nCOPY --from=one /x /y\n";
        assert_eq!(titles(file, 0), ["[one 1/2] FROM a", "[one 2/2] RUN x"]);
        assert_eq!(titles(file, 1), ["[stage-1 1/1] RUN y"]);
        assert_eq!(titles(file, 2), ["[stage-2 1/1] COPY --from=one /x /y"]);
        let long = titles(&format!("FROM a\n{}", "RUN x\n".repeat(9)), 0);
        assert_eq!((long[0].as_str(), long[9].as_str()), ("[ 1/10] FROM a", "[10/10] RUN x"));
    }
}
