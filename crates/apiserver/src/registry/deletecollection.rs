//! DELETE on a collection: every match, one by one; answers them as they were (contract §7.4).
use super::{delete, list};
use crate::admission::Admission;
use crate::http::{Answer, Call};
use crate::request::{self, DeleteOptions, Filter, ListOptions};
use crate::status::ApiError;

pub async fn delete_collection(call: &Call) -> Result<Answer, ApiError> {
    let body = request::decode_options(&call.headers, &call.body)?;
    let options = DeleteOptions::parse(&call.query, body.as_ref())?;
    delete::warn(call, &options);
    let list_options = ListOptions::parse(&call.query, false)?;
    let filter = Filter::parse(call.resource, list::namespace(call), &call.query)?;
    let page = list::page(call, &list_options, &filter).await?;
    for object in &page.objects {
        match delete::delete_object(call, object.name(), &options, Admission::Due).await {
            Ok(_) => {}
            // Gone meanwhile is what was wanted.
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    list::answer(call, page).await
}
