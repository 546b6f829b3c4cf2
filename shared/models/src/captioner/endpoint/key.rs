//! The key of an endpoint: sent, and never shown.

use std::fmt;

#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// White space around it, as a file's last line break, is no part of it. None if nothing is
    /// left, or if it has characters that no header may have.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let sendable = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        sendable.then(|| Self(text.to_owned()))
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// A server's text, in which it may repeat the key, without the key.
    pub(super) fn hide_in(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::ApiKey;

    #[test]
    fn a_key_is_sent_and_not_shown() {
        let key = ApiKey::new(" sk-secret\n").unwrap();
        assert_eq!(key.header(), "Bearer sk-secret");
        assert!(!format!("{key:?}").contains("secret"));
        assert_eq!(key.hide_in("wrong key sk-secret"), "wrong key [key]");
        for unusable in ["", " \n", "two\nlines", "schlüssel"] {
            assert!(ApiKey::new(unusable).is_none(), "{unusable:?}");
        }
    }
}
