//! The labels of an object and the values of its selectable fields, in one piece: there are as many of these as objects.
use std::borrow::Cow;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// One after the other: name and value of each label, then the fields' values.
    all: Box<str>,
    /// How many of them belong to labels, if there are any texts; then where each ends.
    ends: Box<[u32]>,
}

impl Texts {
    pub fn new<'t>(
        labels: impl Iterator<Item = (&'t str, &'t str)>,
        fields: impl Iterator<Item = Cow<'t, str>>,
    ) -> Self {
        let mut texts: Vec<Cow<'_, str>> = Vec::new();
        for (name, value) in labels {
            texts.extend([Cow::Borrowed(name), Cow::Borrowed(value)]);
        }
        let of_labels = texts.len() as u32;
        texts.extend(fields);
        if texts.is_empty() {
            return Self::default();
        }
        let mut end = 0;
        let ends = texts.iter().map(|text| {
            end += text.len() as u32;
            end
        });
        Self {
            ends: std::iter::once(of_labels).chain(ends).collect(),
            all: texts.concat().into(),
        }
    }

    fn of_labels(&self) -> usize {
        self.ends.first().map_or(0, |count| *count as usize)
    }

    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = (0..self.of_labels()).step_by(2);
        names.filter_map(|place| Some((self.get(place)?, self.get(place + 1)?)))
    }

    pub fn fields(&self) -> impl Iterator<Item = &str> {
        (self.of_labels()..self.ends.len().saturating_sub(1)).filter_map(|place| self.get(place))
    }

    pub fn field(&self, index: usize) -> Option<&str> {
        self.get(self.of_labels() + index)
    }

    fn get(&self, place: usize) -> Option<&str> {
        let from = match place {
            0 => 0,
            // The first number is a count, so the text before ends at this one.
            _ => *self.ends.get(place)?,
        };
        self.all.get(from as usize..*self.ends.get(place + 1)? as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out() {
        let labels = [("app", "é"), ("empty", "")];
        let fields = ["", "node", "true"];
        let texts = Texts::new(labels.into_iter(), fields.into_iter().map(Cow::from));
        assert!(texts.labels().eq(labels));
        assert!(texts.fields().eq(fields));
        assert_eq!((texts.field(1), texts.field(3)), (Some("node"), None));
        let none = Texts::new([].into_iter(), [].into_iter());
        assert_eq!(
            (none.labels().count(), none.fields().count(), none.field(0)),
            (0, 0, None)
        );
    }
}
