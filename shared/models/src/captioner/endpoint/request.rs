//! What is sent: the prompt, the form of the answer, and which of the API's parameters a server
//! takes.

use serde_json::{Value, json};

use super::{answer::Wanted, facts};

/// The parameters that servers differ in. A server that refuses one is asked without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    format: Format,
    length: Length,
    seed: bool,
    temperature: bool,
}

/// From what binds the answer most to what binds it least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Format {
    JsonSchema,
    JsonObject,
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Length {
    MaxTokens,
    /// As reasoning models of OpenAI call it.
    MaxCompletionTokens,
    Unbounded,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            format: Format::JsonSchema,
            length: Length::MaxTokens,
            seed: true,
            temperature: true,
        }
    }
}

impl Dialect {
    /// Without what a server's complaint names; none if it complains of something else.
    pub(super) fn without(self, complaint: &str) -> Option<Self> {
        let complaint = complaint.to_lowercase();
        let names = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
        if names(&["max_tokens", "max_completion_tokens"]) {
            let length = match self.length {
                Length::MaxTokens => Length::MaxCompletionTokens,
                Length::MaxCompletionTokens => Length::Unbounded,
                Length::Unbounded => return None,
            };
            return Some(Self { length, ..self });
        }
        if names(&["temperature"]) && self.temperature {
            return Some(Self { temperature: false, ..self });
        }
        if names(&["seed"]) && self.seed {
            return Some(Self { seed: false, ..self });
        }
        if names(&[
            "response_format",
            "response format",
            "json_schema",
            "json_object",
            "schema",
            "grammar",
        ]) {
            let format = match self.format {
                Format::JsonSchema => Format::JsonObject,
                Format::JsonObject => Format::Plain,
                Format::Plain => return None,
            };
            return Some(Self { format, ..self });
        }
        None
    }

    /// Only what both have.
    pub(super) fn meet(self, other: Self) -> Self {
        Self {
            format: self.format.max(other.format),
            length: self.length.max(other.length),
            seed: self.seed && other.seed,
            temperature: self.temperature && other.temperature,
        }
    }
}

/// One question of a picture.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) model: &'a str,
    pub(super) data_url: &'a str,
    pub(super) wanted: Wanted,
    pub(super) temperature: f32,
    pub(super) seed: u64,
}

impl Question<'_> {
    /// The body of a chat completion request.
    pub(super) fn body(&self, dialect: Dialect) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": [{
                "role": "user",
                "content": [
                    { "type": "text", "text": self.prompt() },
                    { "type": "image_url", "image_url": { "url": self.data_url } },
                ],
            }],
        });
        // because: some models think aloud first, and one that never ends must be cut off
        let tokens = 1024 + 64 * self.wanted.r();
        match dialect.length {
            Length::MaxTokens => body["max_tokens"] = json!(tokens),
            Length::MaxCompletionTokens => body["max_completion_tokens"] = json!(tokens),
            Length::Unbounded => {}
        }
        if dialect.temperature {
            // because: as JSON, an f32 widened to f64 has digits that nobody wrote
            body["temperature"] = json!((f64::from(self.temperature) * 1e4).round() / 1e4);
        }
        if dialect.seed {
            // because: some servers hold the seed in 32 bits with a sign
            body["seed"] = json!(self.seed & 0x7fff_ffff);
        }
        match dialect.format {
            Format::JsonSchema => {
                let (name, schema) = self.schema();
                body["response_format"] = json!({
                    "type": "json_schema",
                    "json_schema": { "name": name, "strict": true, "schema": schema },
                });
            }
            Format::JsonObject => body["response_format"] = json!({ "type": "json_object" }),
            Format::Plain => {}
        }
        body
    }

    fn prompt(&self) -> String {
        match self.wanted {
            Wanted::Captions { r } => sentences_prompt(r),
            Wanted::Facts { .. } => facts::PROMPT.to_owned(),
        }
    }

    fn schema(&self) -> (&'static str, Value) {
        match self.wanted {
            Wanted::Captions { .. } => ("captions", sentences_schema()),
            Wanted::Facts { .. } => ("facts", facts::schema()),
        }
    }
}

fn sentences_prompt(r: usize) -> String {
    let sentences =
        if r == 1 { "1 sentence".to_owned() } else { format!("{r} different sentences") };
    format!(
        "Write {sentences} in English about what this picture shows. Each sentence is short (at \
         most 20 words), complete in itself and names the main subject with what can be seen of \
         its kind, colour, number, pattern, parts, posture and surroundings. Say only what is \
         visible, without guesses and without opinions. Each sentence differs from the others in \
         its words or in the details it names. Answer with JSON alone, in this form, with exactly \
         {r} in the list: {{\"captions\": [\"A brown dog with a red collar lies on a sofa.\"]}}"
    )
}

fn sentences_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "captions": { "type": "array", "items": { "type": "string" } } },
        "required": ["captions"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_is_left_out_step_by_step() {
        let question = Question {
            model: "m",
            data_url: "data:,",
            wanted: Wanted::Captions { r: 3 },
            temperature: 0.2,
            seed: u64::MAX,
        };
        let mut dialect = Dialect::default();
        let body = question.body(dialect);
        assert_eq!(body["response_format"]["json_schema"]["name"], "captions");
        assert_eq!((&body["temperature"], &body["seed"]), (&json!(0.2), &json!(0x7fff_ffff)));
        for (complaint, changed, value) in [
            ("Unknown name \"seed\"", "seed", Value::Null),
            (
                "'response_format.type' must be 'json_object'",
                "response_format",
                json!({ "type": "json_object" }),
            ),
            ("response_format is not supported", "response_format", Value::Null),
            (
                "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'",
                "max_tokens",
                Value::Null,
            ),
            ("'temperature' does not support 0.2 with this model", "temperature", Value::Null),
        ] {
            dialect = dialect.without(complaint).unwrap();
            assert_eq!(question.body(dialect)[changed], value, "{complaint}");
        }
        assert_eq!(question.body(dialect)["max_completion_tokens"], 1216);
        assert_eq!(dialect.without("response_format is not supported"), None);
        assert_eq!(Dialect::default().without("the image is damaged"), None);
        assert_eq!(Dialect::default().meet(dialect), dialect);
    }
}
