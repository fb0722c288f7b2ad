//! Samples: what stands for a field while a body is checked by itself. An artifact without facts,
//! a value known by its type alone. Does not know bodies.

use super::known::{Data, Known};
use super::state::Checker;
use crate::lang::source::Span;
use crate::lang::types::Type;
use crate::lang::value::SINGLE_PORT;

/// Records inside records beyond this are not told apart.
const DEEPEST: usize = 8;

impl Checker<'_> {
    /// A sample of a type; what may be one of several types fits everywhere.
    pub(super) fn sample(&mut self, ty: &Type, name: &str, place: Span, depth: usize) -> Known {
        let known = |data| Known { data, span: place };
        match ty {
            _ if depth > DEEPEST => Known::unknown(place),
            artifact if artifact.is_artifact() => {
                let stage = self.new_stage(place, name.to_string());
                known(Data::Artifact { stage, port: SINGLE_PORT.into(), ty: artifact.clone() })
            }
            Type::List(inner) => {
                let item = self.sample(inner, name, place, depth + 1);
                self.built(Data::list(vec![item]), place)
            }
            Type::Fields(fields) => {
                let fields = fields.iter();
                let fields = fields
                    .map(|(name, ty)| (name.clone(), self.sample(ty, name, place, depth + 1)))
                    .collect();
                self.built(Data::record(None, fields), place)
            }
            Type::Record(record) => {
                let signature = self.signature(record.id);
                let fields = signature.fields.iter();
                let fields = fields
                    .map(|field| {
                        let sample = self.sample(&field.ty, field.name, place, depth + 1);
                        (field.name.to_string(), sample)
                    })
                    .collect();
                self.built(Data::record(Some(record.clone()), fields), place)
            }
            Type::Bool | Type::Int(_) | Type::Float(_) | Type::String | Type::Path => {
                known(Data::Some(ty.without_ranges()))
            }
            Type::Quantity(..) => known(Data::Some(ty.without_ranges())),
            _ => Known::unknown(place),
        }
    }
}
