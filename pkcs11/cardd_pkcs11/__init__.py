"""Token hosts: PKCS#11 modules run in processes of their own and used from asyncio."""
