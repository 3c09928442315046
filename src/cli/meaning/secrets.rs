//! Keys and tokens: in an option, in a file, or asked for.

use super::{Ask, Meaning};
use crate::cli::layers::{Found, Origin};
use crate::config::environment::{HEADER_EXPECTED, is_header_text};
use crate::config::fault::{Fault, HIDDEN, quoted};
use crate::config::read_key_file;
use crate::secret::Secret;

impl Meaning<'_> {
    /// The key for subscriptions that have none.
    pub(super) fn app_key(&mut self) -> Option<Secret> {
        if let Some(ask) = self.ask.take() {
            return self.asked_key(ask);
        }
        let typed = [self.app_key.take(), self.app_key_file.take()];
        self.secret(["app-key", "app-key-file"], typed)
    }

    /// A secret that stands in an option, or in a file that another option names: the first place that
    /// has either.
    pub(super) fn secret(
        &mut self,
        [long, file_long]: [&str; 2],
        [typed, typed_file]: [Option<String>; 2],
    ) -> Option<Secret> {
        let layers = &mut self.layers;
        let mut places = [
            (
                layers.typed_text(long, typed),
                layers.typed_text(file_long, typed_file),
            ),
            (layers.variable(long), layers.variable(file_long)),
            (layers.file_text(long), layers.file_text(file_long)),
        ]
        .into_iter();
        match places.find(|(key, file)| key.is_some() || file.is_some())? {
            (Some(key), Some(file)) => {
                let found = format!("{} is given too", key.place);
                let fault = Fault::new(file.place, found, "expected one of them");
                self.layers.report(file.origin, &fault);
                None
            }
            (Some(key), None) => self.key_text(&key),
            (None, file) => self.key_file(&file?),
        }
    }

    /// Nobody is asked while there is something to mend on the command line.
    fn asked_key(&mut self, ask: Ask<'_>) -> Option<Secret> {
        if !self.layers.usage.is_empty() {
            return None;
        }
        let found = ask().map(|key| Found {
            text: key.expose().into(),
            place: "--app-key".into(),
            origin: Origin::Typed,
        });
        match found {
            Ok(found) => self.key_text(&found),
            Err(reason) => {
                self.layers.usage.advise(&[&reason]);
                None
            }
        }
    }

    fn key_text(&mut self, found: &Found) -> Option<Secret> {
        if is_header_text(&found.text) {
            return Some(Secret::new(&found.text));
        }
        let fault = Fault::new(&found.place, HIDDEN, HEADER_EXPECTED);
        self.layers.report(found.origin, &fault);
        None
    }

    fn key_file(&mut self, found: &Found) -> Option<Secret> {
        read_key_file(&found.text)
            .map_err(|reason| {
                let fault = Fault::new(&found.place, quoted(&found.text), reason);
                self.layers.config.push(&fault);
            })
            .ok()
    }
}
