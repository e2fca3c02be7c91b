"""the roles that review orders, for the tenants that exist."""

from alembic import op

revision = "identity_0004"
down_revision = "identity_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A tenant that made a role of that code itself keeps its own.
    op.execute(
        """
        INSERT INTO identity.role (tenant_id, code, name, scope, rights)
        SELECT tenant_id, preset.* FROM identity.role, (VALUES
            ('operations', '运营', 'all', ARRAY['approvals.decide', 'attachments.download', 'customers.view',
                'leads.view', 'orders.view', 'products.manage']),
            ('finance', '财务', 'all', ARRAY['approvals.decide', 'attachments.download', 'customers.view',
                'finance.manage', 'orders.view'])
        ) AS preset
        WHERE code = 'admin'
        ON CONFLICT DO NOTHING
        """
    )
    # A director decides on orders, and reads what stands behind them.
    op.execute(
        """
        UPDATE identity.role SET rights = rights || 'attachments.download'::text, version = version + 1
        WHERE code = 'director' AND NOT rights && ARRAY['attachments.download', '*']
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DELETE FROM identity.role WHERE code IN ('operations', 'finance')
            AND NOT EXISTS (SELECT FROM identity.person_role held
                WHERE held.tenant_id = role.tenant_id AND held.role_code = role.code)
        """
    )
