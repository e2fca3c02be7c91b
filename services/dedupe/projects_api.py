"""Registered projects: proto to use case and back."""

import grpc
from crm.dedupe.v1 import dedupe_pb2 as pb

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.dedupe.domain.projects import ProjectState
from services.dedupe.store.tables import Project
from services.dedupe.usecases import projects
from services.dedupe.usecases.projects import ProjectDraft
from services.dedupe.usecases.refusals import report_refusal
from services.kernel.phones import texts_for
from services.kernel.texts import parse_text

STATES = {
    pb.PROJECT_STATE_UNSPECIFIED: ProjectState.OPEN,
    pb.PROJECT_STATE_OPEN: ProjectState.OPEN,
    pb.PROJECT_STATE_CLOSED: ProjectState.CLOSED,
}
STATE_NUMBERS = {state: number for number, state in STATES.items()}
# Characters of a name, a site or a reason, and of a scheme.
LONGEST_NAME, LONGEST_TEXT = 200, 2000


class ProjectsApi(Api):
    """Answers who registers projects."""

    def RegisterProject(
        self, request: pb.RegisterProjectRequest, context: grpc.ServicerContext
    ) -> pb.RegisterProjectResponse:
        """Register a project and say whom it makes suspected."""
        caller = current_caller()
        draft = ProjectDraft(
            name=parse_text(request.name, "name", LONGEST_NAME),
            site_address=parse_text(request.site_address, "site_address", LONGEST_NAME),
            scheme=parse_text(request.scheme, "scheme", LONGEST_TEXT),
            customer_id=parse_id(request.customer_id, "customer_id") if request.customer_id else "",
        )

        def work(tx: Transaction) -> pb.RegisterProjectResponse:
            project, raised = projects.register_project(tx, caller, draft)
            return pb.RegisterProjectResponse(
                project=project_message(project), suspect_ids=[suspect.suspect_id for suspect in raised]
            )

        try:
            return self.write(request, pb.RegisterProjectResponse, work)
        except AlreadyExists:
            # In a transaction of its own: the refused one took everything back.
            with self.store.transaction(current_tenant(), caller.actor_id) as tx:
                held = projects.holders_of(tx, draft)
                report_refusal(tx, request.request_id, draft.name, held, caller.person_id, caller.name)
            raise

    def CloseProject(
        self, request: pb.CloseProjectRequest, context: grpc.ServicerContext
    ) -> pb.CloseProjectResponse:
        """End a registration."""
        caller, project_id = current_caller(), parse_id(request.project_id, "project_id")
        reason = parse_text(request.reason, "reason", LONGEST_NAME, required=False)
        return self.write(
            request,
            pb.CloseProjectResponse,
            lambda tx: pb.CloseProjectResponse(
                project=project_message(projects.close_project(tx, caller, project_id, reason))
            ),
        )

    def ListProjects(
        self, request: pb.ListProjectsRequest, context: grpc.ServicerContext
    ) -> pb.ListProjectsResponse:
        """Return a page of projects."""
        caller, state = current_caller(), STATES[request.state]
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListProjectsResponse:
            page, more = cut_page(projects.list_projects(tx, caller, state, after, size + 1), size)
            last = page[-1] if more else None
            return pb.ListProjectsResponse(
                projects=map(project_message, page),
                next_page_token=encode_cursor(last.create_time, last.project_id) if last else "",
            )

        return self.read(answer)


def project_message(row: Project) -> pb.Project:
    """Return a project as it is answered."""
    project = pb.Project(
        project_id=row.project_id,
        state=STATE_NUMBERS[ProjectState(row.state)],
        name=row.name,
        site_address=row.site_address,
        scheme=row.scheme,
        customer_id=row.customer_id or "",
        owner_id=row.owner_id,
        close_reason=row.close_reason,
        reservation_id=row.reservation_id,
        version=row.version,
    )
    project.create_time.FromDatetime(row.create_time)
    if row.close_time:
        project.close_time.FromDatetime(row.close_time)
    return texts_for(project, may_see=row.owner_id == current_caller().person_id)
