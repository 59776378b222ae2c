//! What a URL or a form asks for: its fields, and the filter of a list that they describe. It owns the names of the fields;
//! core says which values they may have.

use form_urlencoded::Serializer;
use taskqueue_core::{Result, TaskFilter, TaskId};

use crate::failure::Failure;

/// The fields of a query or a form, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads them; what is not UTF-8 in them becomes marks.
    pub(crate) fn read(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of a field. An empty one is none: a form sends those that were left open.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// Every value of a field.
    pub(crate) fn all<'f>(&'f self, name: &str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// That there is no other field than these, and none twice: a filter of which a part was passed over would let through
    /// what nobody meant.
    pub(crate) fn only(&self, names: &[&str]) -> Result<(), Failure> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !names.contains(&name.as_str()) {
                return Err(Failure::invalid(format!("{name:?} is none of {}", names.join(", "))));
            }
            if self.0[..index].iter().any(|(other, _)| other == name) {
                return Err(Failure::invalid(format!("{name} is given twice")));
            }
        }
        Ok(())
    }

    /// The ids of a form, at most `most`.
    pub(crate) fn ids(&self, most: usize) -> Result<Vec<TaskId>, Failure> {
        let ids: Vec<TaskId> = self
            .all("id")
            .map(str::parse)
            .collect::<Result<_>>()
            .map_err(|error| Failure::of_queue(&error))?;
        match ids.len() {
            0 => Err(Failure::invalid("no task is selected")),
            some if some > most => Err(Failure::invalid(format!("more than {most} tasks are selected"))),
            _ => Ok(ids),
        }
    }

    /// The filter that they describe: `type`, `status`, `region`, `after` and, where it may be chosen, `limit`.
    pub(crate) fn filter(&self, limit: usize) -> Result<TaskFilter, Failure> {
        let read = || -> Result<TaskFilter> {
            let filter = TaskFilter {
                task_type: self.get("type").map(str::parse).transpose()?,
                status: self.get("status").map(str::parse).transpose()?,
                region: self.get("region").map(str::to_owned),
                after: self.get("after").map(str::parse).transpose()?,
                limit,
                ..TaskFilter::default()
            };
            filter.validate()?;
            Ok(filter)
        };
        read().map_err(|error| Failure::of_queue(&error))
    }
}

/// What stands in a path, as core reads it.
pub(crate) fn parsed<T>(text: &str) -> Result<T, Failure>
where
    T: std::str::FromStr<Err = taskqueue_core::Error>,
{
    text.parse().map_err(|error| Failure::of_queue(&error))
}

/// The query of a list: `?type=…&status=…`, and where it goes on. Empty where it asks for everything.
pub(crate) fn query(filter: &TaskFilter, after: Option<TaskId>) -> String {
    let mut fields = Serializer::new(String::new());
    let values = [
        ("type", filter.task_type.as_ref().map(ToString::to_string)),
        ("status", filter.status.map(|status| status.to_string())),
        ("region", filter.region.clone()),
        ("after", after.map(|after| after.to_string())),
    ];
    for (name, value) in values.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        fields.append_pair(name, &value);
    }
    let fields = fields.finish();
    if fields.is_empty() { fields } else { format!("?{fields}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_back_as_the_filter_that_it_was_made_of() {
        let text = "type=mail&status=dead_letter&region=eu%26%22&after=&other=1";
        let filter = Fields::read(text.as_bytes()).filter(7).expect("it is right");
        let again = query(&filter, None);
        assert_eq!(again, "?type=mail&status=dead_letter&region=eu%26%22");
        assert_eq!(Fields::read(&again.as_bytes()[1..]).filter(7).expect("it is right"), filter);
        assert_eq!(query(&TaskFilter::default(), None), "");
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (text, named) in
            [("status=lost", "lost"), ("type=A", "\"A\""), ("after=1", "UUID"), ("region=%0A", "region")]
        {
            let failure = Fields::read(text.as_bytes()).filter(7).expect_err("it is wrong");
            assert!(failure.text.contains(named), "{failure:?}");
        }
    }
}
