import 'element-plus/dist/index.css'
import './styles.css'
import { createPinia } from 'pinia'
import { createApp } from 'vue'
import App from './App.vue'
import { i18n } from './i18n'
import { router } from './router'
import { useSession } from './stores/session'

const app = createApp(App).use(createPinia()).use(i18n)

// Without an answer nobody is signed in; the sign-in page says more when it is used.
await useSession()
  .restore()
  .catch(() => undefined)

app.use(router).mount('#app')
